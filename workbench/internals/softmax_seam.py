"""Attention weights of models whose attention is their own: taken at their softmax, read only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_SOFTMAX = (torch.nn.functional.softmax, torch.softmax, torch.Tensor.softmax)
See = Callable[[Tensor, Tensor], None]
"""Given what the softmax was given and gave, both `[batch, head, query, key]`."""


class SoftmaxWatch(TorchFunctionMode):
    """Shows every softmax over four axes to `see` while it is entered."""

    def __init__(self, see: See) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in _SOFTMAX and found.ndim == 4 and isinstance(args[0], Tensor):
            self._see(args[0], found)
        return found


@contextmanager
def watching(modules: dict[nn.Module, See]) -> Iterator[None]:
    """Show the softmax inside each of these modules to whoever watches it, until the block ends."""
    if not modules:
        yield
        return
    inside: list[nn.Module] = []

    def see(given: Tensor, gave: Tensor) -> None:
        if inside:
            modules[inside[-1]](given, gave)

    def enter(module: nn.Module, _: Any) -> None:
        inside.append(module)

    def leave(*_: Any) -> None:
        inside.pop()

    handles = []
    for module in modules:
        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        with SoftmaxWatch(see):
            yield
    finally:
        for handle in handles:
            handle.remove()


def scores(given: Tensor, gave: Tensor) -> Tensor:
    """The attention logits: what the softmax was given, -inf where it gave no weight."""
    return given.float().masked_fill(gave == 0, -torch.inf)
