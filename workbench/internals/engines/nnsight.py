"""The engine of nnsight: every site is read and edited inside a trace of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..architectures import Architecture, ModuleSite, read_in_of
from ..shared_weights import clone_sharing_weights
from ..sites import KINDS, MAP_KINDS, Site
from . import hook_values
from .base import Engine, Hook, Inputs

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    """Gets what `wait` gave, calls the taps, and returns what is to take its place, or None."""
    put: Callable[[Any], None]


class NnsightEngine(Engine):
    """Serves what the architecture has; inside attention it reads the operations that nnsight finds in the source.

    It traces a twin of the model, which shares its weights, so nnsight's rewriting of modules never meets the hooks of
    another engine. Importing nnsight changes the process (`Tensor.backward`, a `save` on every object), so it is
    imported when the first of these engines is made and not before.
    """

    name: ClassVar[str] = "nnsight"

    def __init__(self, model: nn.Module, tokenizer: Any = None, architecture: Architecture | None = None) -> None:
        import nnsight

        from .hf import HfEngine

        self.architecture = architecture or HfEngine(model).architecture
        self.model = clone_sharing_weights(model)
        self.read_in = read_in_of(model)
        self._tokenizer = tokenizer
        self._traced = nnsight.NNsight(self.model)
        self.refused = self._unreachable()
        """Why a kind that the model has is not served."""

    @cached_property
    def wrapped(self) -> Any:
        """The model as nnsight's own `TransformersModel`, with a tokenizer of its own, for traces in a notebook."""
        import copy

        from nnsight import TransformersModel

        if self._tokenizer is None:
            return self._traced
        # nnsight sets the padding side and token of the tokenizer it is given
        return TransformersModel(self.model, task="text-generation", tokenizer=copy.deepcopy(self._tokenizer))

    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.architecture.kinds if kind not in self.refused)

    def _unreachable(self) -> dict[str, str]:
        seam = [kind for kind in self.architecture.kinds if self._place(kind).side == "attention"]
        if not seam or _calls(self._traced.get(self.architecture.path(Site(seam[0], 0)))):
            return {}
        return dict.fromkeys(seam, f"nnsight finds no call of {CALL!r} in the source of its attention")

    def run(self, inputs: Inputs, taps: Sequence[Hook] = (), *, logits: bool | Tensor = True) -> Tensor | None:
        from nnsight.intervention.interleaver import OutOfOrderError

        if not taps and logits is False:
            return None
        waiting = set(range(len(taps)))
        stops = self._stops(taps, waiting.discard)
        try:
            output = self._trace(self.arguments(inputs, logits), stops, logits is False)
        except OutOfOrderError as error:
            raise self.never_called(taps[index].site for index in waiting) from error
        if waiting:
            raise self.never_called(taps[index].site for index in waiting)
        return output

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

    def _stops(self, taps: Sequence[Hook], called: Callable[[int], None]) -> list[TracePoint]:
        """The places where these taps are, in the order in which the model comes to them."""
        at: dict[tuple[str, str], list[tuple[int, Hook]]] = {}
        for index, tap in sorted(enumerate(taps), key=lambda item: self._when(item[1])):
            place = self._place(tap.site.kind)
            side = "input" if place.side == "stream" else place.side
            at.setdefault((self.architecture.path(tap.site), side), []).append((index, tap))
        return [self._stop(path, side, group, called) for (path, side), group in at.items()]

    def _when(self, tap: Hook) -> tuple[int, int]:
        last = self.architecture.shape.layers
        return (last if tap.site.kind == "final_norm" else tap.site.layer or 0, ORDER.index(tap.site.kind))

    def _place(self, kind: str) -> ModuleSite:
        return self.architecture.places.get(kind, ModuleSite("", "output"))

    def _stop(self, path: str, side: str, taps: list[tuple[int, Hook]], called: Callable[[int], None]) -> TracePoint:
        envoy = self._traced.get(path)
        if side == "attention":
            return self._attention(envoy, taps, called)

        def act(passed: Any) -> Any:
            now = passed[0] if isinstance(passed, tuple) else passed
            changed = False
            for index, tap in taps:
                new = hook_values.replaced(self.architecture, now, tap, self._place(tap.site.kind))
                called(index)
                if new is not None:
                    now, changed = new, True
            if not changed:
                return None
            return (now, *passed[1:]) if isinstance(passed, tuple) else now

        return TracePoint(lambda: getattr(envoy, side), act, lambda new: setattr(envoy, side, new))

    def _attention(self, envoy: Any, taps: list[tuple[int, Hook]], called: Callable[[int], None]) -> TracePoint:
        """Where the module calls its attention function: with q and k as attention uses them."""
        from .. import attention

        operation = getattr(envoy.source, _calls(envoy)[-1])

        def act(passed: Any) -> Any:
            arguments, options = passed
            call = attention.Call.of(*arguments, **options)
            before = call.q, call.k
            for index, tap in taps:
                hook_values.at_attention(call, tap)
                called(index)
            if call.q is before[0] and call.k is before[1] and call.edited is None:
                return None
            handed_on = {} if call.edited is None else {attention.EDITED: call.edited}
            return (arguments[0], call.q, call.k, *arguments[3:]), {**options, **handed_on}

        return TracePoint(lambda: operation.inputs, act, lambda new: setattr(operation, "inputs", new))


def _calls(envoy: Any) -> list[str]:
    """The operations on attention's function that nnsight finds in a module's source, in their order."""
    return [name for name in envoy.source.names if name.rpartition("_")[0] == CALL]
