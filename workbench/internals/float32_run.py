"""Run parts of a model in float32 whatever its weights are in, one at a time, and leave the weights as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def in_float32(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Each of these modules computes in float32 while the block lasts: its weights are copied when it begins.

    A part's own weights come back when it ends, so that one part at most is held twice. Weights that are not floating
    (quantised ones) stay as they are.
    """
    held: dict[nn.Module, list[tuple[dict[str, Any], str, Tensor]]] = {}

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if module not in held:
            held[module] = [
                (places, name, tensor)
                for inner in module.modules()
                for places in _tensors(inner)
                for name, tensor in places.items()
                if tensor is not None and tensor.dtype in (torch.float16, torch.bfloat16)
            ]
            for places, name, tensor in held[module]:
                places[name] = tensor.detach().float()
        return _widened(args), _widened(kwargs)

    def restore(module: nn.Module) -> None:
        for places, name, tensor in held.pop(module, ()):
            places[name] = tensor

    with ExitStack() as stack:
        for part in dict.fromkeys(parts):
            stack.callback(part.register_forward_pre_hook(begin, with_kwargs=True, prepend=True).remove)
            stack.callback(part.register_forward_hook(lambda module, _, __: restore(module), always_call=True).remove)
        try:
            yield
        finally:
            for module in list(held):
                restore(module)


def _widened(value: Any) -> Any:
    """The same with half-precision tensors in float32, inside tuples, lists and dictionaries too."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if type(value) in (tuple, list):
        return type(value)(_widened(item) for item in value)
    if type(value) is dict:
        return {name: _widened(item) for name, item in value.items()}
    return value


def _tensors(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    return module._parameters, module._buffers
