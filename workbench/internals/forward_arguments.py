"""What a model's forward takes, and the state that an earlier text may have left in it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .architectures import bare

INPUTS = ("hidden_states", "x", "hidden", "input")
"""What modules call the tensor that they are given, where it is given by name."""


def first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor | None, str | None]:
    """The tensor that a module is given, and by which name (None: as its first argument)."""
    if args:
        return first(args), None
    name = next((name for name in INPUTS if isinstance(kwargs.get(name), Tensor)), None)
    return (kwargs[name] if name else None), name


def first(value: Any) -> Tensor | None:
    """The tensor that a module is given or gives: itself, or the first of several."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)) and value and isinstance(value[0], Tensor):
        return value[0]
    return None


def with_input(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None, new: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A module's arguments with another tensor in the place of what `first_input` found."""
    return ((new, *args[1:]), kwargs) if name is None else (args, {**kwargs, name: new})


@dataclass(frozen=True)
class Arguments:
    """What a model's forward takes: the name of its cache (None: it takes none), positions, a choice of logits."""

    cache: str | None
    positions: bool
    logits_to_keep: bool

    @classmethod
    def of(cls, model: nn.Module) -> Arguments:
        """Read from the signature of the model's forward."""
        names = inspect.signature(bare(model).forward).parameters
        cache = next((name for name in ("past_key_values", "cache_params") if name in names), None)
        return cls(cache, "position_ids" in names, "logits_to_keep" in names)


def fresh_frequencies(model: nn.Module) -> None:
    """Put back the frequencies that an earlier, longer text may have left in a model's rotation."""
    for module in bare(model).modules():
        state = vars(module)
        if "max_seq_len_cached" not in state or "original_max_seq_len" not in state:
            continue
        for name in [name for name in state if name.endswith("max_seq_len_cached")]:
            setattr(module, name, module.original_max_seq_len)
        for name in list(state):
            if name.endswith("original_inv_freq") and isinstance(state[name], Tensor):
                _restore(module, name)
        for name, _ in list(module.named_buffers(recurse=False)):
            if name.endswith("original_inv_freq"):
                _restore(module, name)


def _restore(module: nn.Module, name: str) -> None:
    used = name.replace("original_inv_freq", "inv_freq")
    own, now = getattr(module, name), getattr(module, used, None)
    if isinstance(now, Tensor) and not torch.equal(now, own.to(now)):
        module.register_buffer(used, own.to(now.device).clone(), persistent=False)
