"""The engine of nnsight: every site is read and edited inside a trace of the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..sites import KINDS, MAP_KINDS, Site
from . import hook_values
from .base import Hook, Inputs
from .twin import TwinEngine

if TYPE_CHECKING:
    from torch import Tensor


ORDER = (
    "embed", "resid_pre", "q", "k", "v", "q_rot", "k_rot", *MAP_KINDS, "z", "attn_out", "resid_mid", "mlp_pre",
    "mlp_post", "mlp_out", "resid_post", "final_norm",
)  # fmt: skip
"""The kinds in the order in which a model comes to them: a trace can only ask for what is still ahead."""
assert set(ORDER) == set(KINDS) - {"logits"}
CALL = "attention_interface"
"""What transformers calls attention's function in every attention module: bound to this name first, called last."""


class TracePoint(NamedTuple):
    """One place where the trace waits for the model, and what it does there."""

    wait: Callable[[], Any]
    act: Callable[[Any], Any]
    """Gets what `wait` gave, calls the hooks, and returns what is to take its place, or None."""
    put: Callable[[Any], None]


class NnsightEngine(TwinEngine):
    """Serves what the architecture has; inside attention it reads the operations that nnsight finds in the source.

    It traces a twin of the model, which shares its weights, so nnsight's rewriting of modules never meets the hooks of
    another engine. Importing nnsight changes the process (`Tensor.backward`, a `save` on every object), so it is
    imported when the first of these engines is made and not before.
    """

    name: ClassVar[str] = "nnsight"

    def _wrap(self) -> None:
        import nnsight

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Module .* has a submodule named")  # `_at` knows of it
            self._traced = nnsight.NNsight(self.model)
        vars(self).pop("wrapped", None)

    @cached_property
    def wrapped(self) -> Any:
        """The model as nnsight's own `TransformersModel`, with a tokenizer of its own, for traces in a notebook."""
        import copy

        from nnsight import TransformersModel

        if self._tokenizer is None:
            return self._traced
        # nnsight sets the padding side and token of the tokenizer it is given
        return TransformersModel(self.model, task="text-generation", tokenizer=copy.deepcopy(self._tokenizer))

    def _unreachable(self) -> dict[str, str]:
        sides = {kind: place.side for kind, place in self.architecture.places.items()}
        refused = dict.fromkeys((kind for kind, side in sides.items() if side == "weights"), "it is inside attention")
        if sides.get("z") == "attention":
            refused["z"] = "its heads' outputs pass no module"
        seam = [kind for kind, side in sides.items() if side == "attention" and kind != "z"]
        if not seam:
            return refused
        first = self.architecture.layers_with(seam[0])[0]
        if _calls(_at(self._traced, self.architecture.path(Site(seam[0], first)))):
            return refused
        return refused | dict.fromkeys(seam, f"nnsight finds no call of {CALL!r} in the source of its attention")

    def _run(self, inputs: Inputs, hooks: Sequence[Hook], logits: bool | Tensor) -> Tensor | None:
        from nnsight.intervention.interleaver import OutOfOrderError

        waiting = set(range(len(hooks)))
        stops = self._stops(hooks, waiting.discard, inputs.cache is not None)
        try:
            output = self._trace(self.arguments(inputs, logits), stops, logits is False)
        except OutOfOrderError as error:
            raise self.never_called(hooks[index].site for index in waiting) from error
        if waiting:
            raise self.never_called(hooks[index].site for index in waiting)
        return None if output is None else self.chosen(output, logits)

    def _trace(self, arguments: dict[str, Any], stops: Sequence[TracePoint], early: bool) -> Tensor | None:
        import nnsight

        output = None  # the body of a trace cannot return
        with self._traced.trace(**arguments) as tracer:
            for stop in stops:
                new = stop.act(stop.wait())
                if new is not None:
                    stop.put(new)
            if early:
                tracer.stop()
            output = nnsight.save(tracer.result.logits)
        return output  # noqa: RET504

    def _stops(self, hooks: Sequence[Hook], called: Callable[[int], None], cached: bool) -> list[TracePoint]:
        """The places where these hooks are, in the order in which the model comes to them."""
        at: dict[tuple[str, str], list[tuple[int, Hook]]] = {}
        for index, hook in sorted(enumerate(hooks), key=lambda item: self._when(item[1])):
            place = self.architecture.place(hook.site)
            side = "input" if place.side == "stream" else place.side
            at.setdefault((self.architecture.path(hook.site), side), []).append((index, hook))
        return [self._stop(path, side, group, called, cached) for (path, side), group in at.items()]

    def _when(self, hook: Hook) -> tuple[int, int]:
        last = self.architecture.shape.layers
        return (last if hook.site.kind == "final_norm" else hook.site.layer or 0, ORDER.index(hook.site.kind))

    def _stop(
        self, path: str, side: str, hooks: list[tuple[int, Hook]], called: Callable[[int], None], cached: bool
    ) -> TracePoint:
        envoy = _at(self._traced, path)
        if side == "attention":
            return self._attention(envoy, hooks, called, cached)

        def act(passed: Any) -> Any:
            now = passed[0] if isinstance(passed, (tuple, list)) else passed
            changed = False
            for index, hook in hooks:
                new = hook_values.replaced(now, hook, self.architecture.place(hook.site))
                called(index)
                if new is not None:
                    now, changed = new, True
            if not changed:
                return None
            return hook_values.with_first(passed, now)

        return TracePoint(lambda: getattr(envoy, side), act, lambda new: setattr(envoy, side, new))

    def _attention(
        self, envoy: Any, hooks: list[tuple[int, Hook]], called: Callable[[int], None], cached: bool
    ) -> TracePoint:
        """Where the module calls its attention function: with q and k as attention uses them."""
        from .. import attention

        operation = getattr(envoy.source, _calls(envoy)[-1])

        def act(passed: Any) -> Any:
            arguments, options = passed
            call = attention.Call.of(*arguments, **options)
            before = call.q, call.k, call.v
            for index, hook in hooks:
                hook_values.at_attention(call, hook, cached)
                called(index)
            same = call.q is before[0] and call.k is before[1] and call.v is before[2]
            if same and call.edited is None:
                return None
            handed_on = {} if call.edited is None else {attention.EDITED: call.edited}
            return (arguments[0], call.q, call.k, call.v, *arguments[4:]), {**options, **handed_on}

        return TracePoint(lambda: operation.inputs, act, lambda new: setattr(operation, "inputs", new))


def _at(envoy: Any, path: str) -> Any:
    """nnsight's view of the module at a path; one that is called `output` or `input` has another name there."""
    for name in path.split("."):
        moved = vars(envoy).get(f"{envoy.OVERLOAD_PREFIX}{name}")
        envoy = envoy.get(name) if moved is None else moved
    return envoy


def _calls(envoy: Any) -> list[str]:
    """The operations on attention's function that nnsight finds in a module's source, in their order."""
    return [name for name in envoy.source.names if name.rpartition("_")[0] == CALL]
