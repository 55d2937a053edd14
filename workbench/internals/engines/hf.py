"""The engine of plain PyTorch hooks on a Hugging Face model, with the attention seam for what hooks cannot reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, assert_never

from torch import Tensor, nn

from .. import attention, softmax_seam
from ..architectures import Architecture, ModuleSite, bare, read_in_of
from ..borrowing import borrowed, implementations
from ..forward_arguments import first_input, with_input
from ..layer_checks import examine
from ..sites import KINDS
from . import hook_values
from .base import Engine, Hook, Inputs


class _Enough(Exception):
    """Every hook was called and nobody asked for logits."""


class HfEngine(Engine):
    """Serves every kind that the architecture has, at the cost of the plain forward and O(tokens) memory.

    For each run the model is in evaluation mode and its attention is the seam `workbench`, where that computes what the
    model's own attention does. A layer serves the kinds that a short run has verified there; see `layer_checks`.
    """

    name = "hf"
    kept = ("read_in", "architecture", "implementations")

    def __init__(self, model: nn.Module) -> None:
        self.source = self.model = model
        self.refresh()

    def _build(self) -> None:
        own = implementations(self.model)
        self.read_in = read_in_of(self.model)
        with borrowed(self.model, own):
            self.architecture: Architecture = examine(self.model)
            self.implementations = [(each, each._attn_implementation_internal) for each, _ in own]

    def kinds(self) -> tuple[str, ...]:
        return self.architecture.kinds

    def _run(self, inputs: Inputs, hooks: Sequence[Hook], logits: bool | Tensor) -> Tensor | None:
        waiting = set(range(len(hooks)))

        def called(index: int) -> None:
            waiting.discard(index)
            if not waiting and logits is False:
                raise _Enough

        cached = inputs.cache is not None
        with ExitStack() as stack:
            seam: dict[nn.Module, list[tuple[int, Hook]]] = defaultdict(list)
            own: dict[nn.Module, list[tuple[int, Hook]]] = defaultdict(list)
            for index, hook in enumerate(hooks):
                module = self.architecture.module(bare(self.model), hook.site)
                place = self.architecture.place(hook.site)
                if place.side == "attention":
                    seam[module].append((index, hook))
                elif place.side == "weights":
                    own[module].append((index, hook))
                elif place.side == "output":
                    stack.enter_context(module.register_forward_hook(self._after(index, hook, place, called)))
                elif place.side == "input" or place.side == "stream":
                    before = self._before(index, hook, place, called)
                    stack.enter_context(module.register_forward_pre_hook(before, with_kwargs=True))
                else:
                    assert_never(place.side)
            stack.enter_context(softmax_seam.watching({m: self._reader(group, called) for m, group in own.items()}))
            stack.enter_context(
                attention.watching({m: self._watcher(group, called, cached) for m, group in seam.items()})
            )
            try:
                output = self.model(**self.arguments(inputs, logits)).logits
            except _Enough:
                return None
        if waiting:
            raise self.never_called(hooks[index].site for index in waiting)
        return self.chosen(output, logits)

    def _after(self, index: int, hook: Hook, place: ModuleSite, called: Callable[[int], None]) -> Callable[..., Any]:
        def registered(module: nn.Module, args: Any, output: Any) -> Any:
            new = hook_values.replaced(output if isinstance(output, Tensor) else output[0], hook, place)
            called(index)
            if new is None:
                return None
            return hook_values.with_first(output, new)

        return registered

    def _before(self, index: int, hook: Hook, place: ModuleSite, called: Callable[[int], None]) -> Callable[..., Any]:
        def registered(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            value, name = first_input(args, kwargs)
            assert value is not None
            new = hook_values.replaced(value, hook, place)
            called(index)
            return None if new is None else with_input(args, kwargs, name, new)

        return registered

    def _reader(self, hooks: list[tuple[int, Hook]], called: Callable[[int], None]) -> softmax_seam.See:
        def see(given: Tensor, gave: Tensor) -> None:
            for index, hook in hooks:
                whole = softmax_seam.scores(given, gave) if hook.site.kind == "scores" else gave
                if hook.queries is not None:
                    columns = hook.queries.to(whole.device)[:, None, :, None]
                    whole = whole.gather(2, columns.expand(-1, whole.shape[1], -1, whole.shape[3]))
                hook.see(whole)
                called(index)

        return see

    def _watcher(self, hooks: list[tuple[int, Hook]], called: Callable[[int], None], cached: bool) -> attention.Watcher:
        order = tuple(KINDS)

        def watch(call: attention.Call) -> Tensor | None:
            # rows and outputs are computed from the queries and keys as edited, so those come first
            output = None
            for index, hook in sorted(hooks, key=lambda item: order.index(item[1].site.kind)):
                if hook.site.kind != "z":
                    hook_values.at_attention(call, hook, cached)
                    called(index)
            for index, hook in hooks:
                if hook.site.kind == "z":
                    output = attention.attend(call) if output is None else output
                    new = hook.see(output)
                    output = output if new is None else new
                    called(index)
            return output

        return watch
