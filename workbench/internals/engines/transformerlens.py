"""The engine of TransformerLens: every site is read and edited at a hook point of its bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError, WorkbenchError
from ..attention import LONG, Call
from ..sites import KINDS, MAP_KINDS
from ..values import example
from . import hook_values
from .base import Hook, Inputs
from .twin import TwinEngine

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .hf import HfEngine

POINTS = {
    "embed": "blocks.0.hook_in",
    "resid_pre": "blocks.{}.hook_in",
    "resid_mid": "blocks.{}.ln2.hook_in",
    "resid_post": "blocks.{}.hook_out",
    "attn_out": "blocks.{}.hook_attn_out",
    "mlp_out": "blocks.{}.hook_mlp_out",
    **{part: f"blocks.{{}}.attn.hook_{part}" for part in ("q", "k", "v", "z")},
    "q_rot": "blocks.{}.attn.hook_rot_q",
    "k_rot": "blocks.{}.attn.hook_rot_k",
    "scores": "blocks.{}.attn.hook_attn_scores",
    "pattern": "blocks.{}.attn.hook_pattern",
    "mlp_pre": "blocks.{}.mlp.hook_pre",
    "mlp_post": "blocks.{}.mlp.hook_post",
    "final_norm": "ln_final.hook_out",
}
"""The hook point at which each kind is found; the embeddings where they enter block 0, learned positions included."""
# a kind that is not in the table would count as served
assert set(POINTS) == set(KINDS) - {"logits"}, "every kind of site needs its hook point"


class _Enough(Exception):
    """Every hook was called and nobody asked for logits."""


class TransformerLensEngine(TwinEngine):
    """Serves what the architecture has, at the hook points of a bridge around a twin that shares the model's weights.

    The bridge keeps the model's own attention where its modules are known, at O(tokens) memory. Where it cannot, it is
    TransformerLens' standard one, which holds a query × key matrix in every layer and is refused above 4096 tokens.
    Only what is seen to agree with plain hooks is served, and nothing where the logits do not.
    """

    name: ClassVar[str] = "transformerlens"

    def __init__(
        self, model: nn.Module, tokenizer: Any = None, plain: HfEngine | None = None, native: bool = True
    ) -> None:
        self._wanted_native = native
        super().__init__(model, tokenizer, plain)

    def _wrap(self) -> None:
        from .native_attention import build, is_native

        native = self._wanted_native
        try:
            self.wrapped = build(self.model, self.architecture, self._tokenizer, native)
        except WorkbenchError:
            if not native:
                raise
            self._make_twin()  # the first one's modules were rewritten on the way
            self.wrapped = build(self.model, self.architecture, self._tokenizer, native=False)
        self.native = is_native(self.wrapped)

    @property
    def trusted(self) -> bool:
        """Never: what it serves must be seen to agree with plain hooks."""
        return False

    def _run(self, inputs: Inputs, hooks: Sequence[Hook], logits: bool | Tensor) -> Tensor | None:
        if self.wrapped.compatibility_mode:
            raise WorkbenchError(
                "the bridge was put into compatibility mode, which changes its weights and what its hooks see; "
                "load the model again to read it through this engine"
            )
        if not self.native and inputs.ids.shape[1] > LONG:
            size = inputs.ids.shape[1]
            raise UsageError(
                f"on {self.architecture.name} TransformerLens runs its standard bridge, which holds {size} × {size} "
                f"weights a head in every layer: refused above {LONG} tokens; use the engine 'hf' or 'nnsight'"
            )
        waiting = set(range(len(hooks)))

        def called(index: int) -> None:
            waiting.discard(index)
            if not waiting and logits is False:
                raise _Enough

        with ExitStack() as stack:
            library_hooks = []
            for index, asked in enumerate(hooks):
                if asked.site.kind in MAP_KINDS and self.native:
                    block = self.wrapped.blocks[asked.site.layer]
                    stack.enter_context(block.attn.watched(self._watcher(index, asked, called)))
                else:
                    library_hooks.append(
                        (POINTS[asked.site.kind].format(asked.site.layer), self._hook(index, asked, called))
                    )
            stack.enter_context(self.wrapped.hooks(fwd_hooks=library_hooks))
            arguments = self.arguments(inputs, logits)
            entering = arguments.pop("input_ids", None)
            if entering is None:  # the bridge tells what went through the read-in by its type
                entering = arguments.pop("inputs_embeds")
            try:
                output = self.wrapped(entering, return_type="logits", **arguments)
            except _Enough:
                return None
        if waiting:
            raise self.never_called(hooks[index].site for index in waiting)
        return self.chosen(output, logits)

    def _hook(self, index: int, asked: Hook, called: Callable[[int], None]) -> Callable[..., Tensor | None]:
        stream = asked.site.kind == "resid_mid"

        def called_at_point(value: Tensor, hook: Any) -> Tensor | None:
            if asked.queries is not None:
                columns = asked.queries.to(value.device)[:, None, :, None]
                value = value.gather(2, columns.expand(-1, value.shape[1], -1, value.shape[3]))
            new = asked.see(value)
            called(index)
            if new is None or not stream:
                return new
            value.copy_(new)  # the skip connection holds the same tensor, and must see the replacement too
            return None

        return called_at_point

    def _watcher(self, index: int, asked: Hook, called: Callable[[int], None]) -> Callable[[Call], None]:
        def watch(call: Call) -> None:
            hook_values.at_attention(call, asked)
            called(index)

        return watch

    def _points(self) -> dict[str, str]:
        """The hook point of each kind in the first layer that has it."""
        having = {kind: (self.architecture.layers_with(kind) or [0])[0] for kind in self.architecture.kinds}
        return {kind: POINTS[kind].format(layer) for kind, layer in having.items() if kind in POINTS}

    def _unreachable(self) -> dict[str, str]:
        """The kinds whose hook point this bridge does not have, or does not call."""
        points = self._points()
        missing = {
            kind: f"this bridge has no {point}"
            for kind, point in points.items()
            if self.wrapped.get_hook_point(point) is None
        }
        return missing | self._silent({kind: point for kind, point in points.items() if kind not in missing})

    def _silent(self, points: dict[str, str]) -> dict[str, str]:
        """The kinds whose hook point does not fire in this bridge's forward."""
        import torch

        fired: set[str] = set()
        library_hooks = [(point, lambda _, hook, kind=kind: fired.add(kind)) for kind, point in points.items()]
        d_in = self.architecture.shape.d_in
        given = torch.tensor([[1, 2]]) if d_in is None else example(d_in, [2])[0][None]
        try:
            with torch.no_grad(), self.wrapped.hooks(fwd_hooks=library_hooks):
                self.wrapped(*self.entering(given).values(), return_type="logits")
        except Exception as error:  # bridges fail in many ways on what they were not made for
            raise WorkbenchError(
                f"TransformerLens' bridge does not run {type(self.model).__name__} ({type(error).__name__}: {error}); "
                "use the engine 'hf' or 'nnsight'"
            ) from error
        return {kind: f"{point} does not fire in this bridge" for kind, point in points.items() if kind not in fired}
