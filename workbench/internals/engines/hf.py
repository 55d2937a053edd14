"""The engine of plain PyTorch hooks on a Hugging Face model, with the attention seam for what hooks cannot reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from .. import attention
from ..architectures import Architecture, ModuleSite, bare, describe, read_in_of
from ..sites import KINDS
from . import hook_values
from .base import Engine, Hook, Inputs
from .site_checks import SEAM_KINDS, install_attention, verified


class _Enough(Exception):
    """Every tap was called and nobody asked for logits."""


class HfEngine(Engine):
    """Serves every kind that the architecture has, at the cost of the plain forward and O(tokens) memory.

    Sets the model to evaluation mode and its attention to the seam `workbench`, where that computes what the model's
    own attention does. Kinds that a short prompt shows to be something else here are refused.
    """

    name = "hf"

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.read_in = read_in_of(model)
        model.eval()
        why = install_attention(model)
        found = describe(model)
        self.architecture: Architecture = found if why is None else found.without(dict.fromkeys(SEAM_KINDS, why))
        self.architecture = verified(self)

    def kinds(self) -> tuple[str, ...]:
        return self.architecture.kinds

    def run(self, inputs: Inputs, taps: Sequence[Hook] = (), *, logits: bool | Tensor = True) -> Tensor | None:
        waiting = set(range(len(taps)))
        if not waiting and logits is False:
            return None

        def called(index: int) -> None:
            waiting.discard(index)
            if not waiting and logits is False:
                raise _Enough

        with ExitStack() as stack:
            seam: dict[nn.Module, list[tuple[int, Hook]]] = defaultdict(list)
            for index, tap in enumerate(taps):
                module = self.architecture.module(bare(self.model), tap.site)
                place = self.architecture.places.get(tap.site.kind, ModuleSite("", "output"))
                if place.side == "attention":
                    seam[module].append((index, tap))
                elif place.side == "output":
                    stack.enter_context(module.register_forward_hook(self._after(index, tap, place, called)))
                else:
                    before = self._before(index, tap, place, called)
                    stack.enter_context(module.register_forward_pre_hook(before, with_kwargs=True))
            stack.enter_context(attention.watching({m: self._watcher(group, called) for m, group in seam.items()}))
            try:
                output = self.model(**self.arguments(inputs, logits)).logits
            except _Enough:
                return None
        if waiting:
            raise self.never_called(taps[index].site for index in waiting)
        return output if logits is not False else None

    def _after(self, index: int, tap: Hook, place: ModuleSite, called: Callable[[int], None]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            new = hook_values.replaced(
                self.architecture, output[0] if isinstance(output, tuple) else output, tap, place
            )
            called(index)
            if new is None:
                return None
            return (new, *output[1:]) if isinstance(output, tuple) else new

        return hook

    def _before(self, index: int, tap: Hook, place: ModuleSite, called: Callable[[int], None]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            new = hook_values.replaced(self.architecture, args[0] if args else kwargs["hidden_states"], tap, place)
            called(index)
            if new is None:
                return None
            return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

        return hook

    def _watcher(self, taps: list[tuple[int, Hook]], called: Callable[[int], None]) -> attention.Watcher:
        order = tuple(KINDS)

        def watch(call: attention.Call) -> None:
            # rows are computed from the queries and keys as edited, so those come first
            for index, tap in sorted(taps, key=lambda item: order.index(item[1].site.kind)):
                hook_values.at_attention(call, tap)
                called(index)

        return watch
