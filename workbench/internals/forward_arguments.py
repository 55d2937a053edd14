"""What a model's forward takes, and the state that an earlier text may have left in it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .architectures import bare


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
