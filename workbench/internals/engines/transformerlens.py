"""The engine of TransformerLens: every site is read and edited at a hook point of its bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError, WorkbenchError
from ..architectures import TABLE, Architecture, read_in_of
from ..attention import LONG, Call
from ..shared_weights import clone_sharing_weights
from ..sites import MAP_KINDS
from ..values import example
from . import hook_values
from .base import Engine, Hook, Inputs

if TYPE_CHECKING:
    from torch import Tensor, nn

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


class _Enough(Exception):
    """Every tap was called and nobody asked for logits."""


class TransformerLensEngine(Engine):
    """Serves what the architecture has, at the hook points of a bridge around a twin that shares the model's weights.

    The bridge keeps the model's own attention where its modules are known, at O(tokens) memory. Where it cannot, it is
    TransformerLens' standard one, which holds a query × key matrix in every layer and is refused above 4096 tokens. On
    that one, and on architectures that are not in the table, only what is seen to agree with plain hooks is served.
    """

    name: ClassVar[str] = "transformerlens"

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        architecture: Architecture | None = None,
        native: bool = True,
    ) -> None:
        from .hf import HfEngine
        from .native_attention import build, is_native

        self.architecture = architecture or HfEngine(model).architecture
        self.model = clone_sharing_weights(model)
        self.read_in = read_in_of(model)
        self.wrapped = build(self.model, self.architecture, tokenizer, native)
        self.native = is_native(self.wrapped)
        self.refused = self._unreachable()
        """Why a kind that the model has is not served."""
        if not self.trusted:
            self.refused |= self._silent()

    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.architecture.kinds if kind not in self.refused)

    @property
    def trusted(self) -> bool:
        """Whether the bridge has the model's own attention and known modules; where not, it must be seen to agree."""
        return self.native and self.architecture.name in TABLE

    def run(self, inputs: Inputs, taps: Sequence[Hook] = (), *, logits: bool | Tensor = True) -> Tensor | None:
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
        waiting = set(range(len(taps)))
        if not waiting and logits is False:
            return None

        def called(index: int) -> None:
            waiting.discard(index)
            if not waiting and logits is False:
                raise _Enough

        with ExitStack() as stack:
            hooks = []
            for index, tap in enumerate(taps):
                if tap.site.kind in MAP_KINDS and self.native:
                    block = self.wrapped.blocks[tap.site.layer]
                    stack.enter_context(block.attn.watched(self._watcher(index, tap, called)))
                else:
                    hooks.append((POINTS[tap.site.kind].format(tap.site.layer), self._hook(index, tap, called)))
            stack.enter_context(self.wrapped.hooks(fwd_hooks=hooks))
            arguments = self.arguments(inputs, logits)
            entering = arguments.pop("input_ids", None)
            if entering is None:  # the bridge tells what went through the read-in by its type
                entering = arguments.pop("inputs_embeds")
            try:
                output = self.wrapped(entering, return_type="logits", **arguments)
            except _Enough:
                return None
        if waiting:
            raise self.never_called(taps[index].site for index in waiting)
        return output if logits is not False else None

    def _hook(self, index: int, tap: Hook, called: Callable[[int], None]) -> Callable[..., Tensor | None]:
        stream = tap.site.kind == "resid_mid"

        def hook(value: Tensor, hook: Any) -> Tensor | None:
            if tap.queries is not None:
                columns = tap.queries.to(value.device)[:, None, :, None]
                value = value.gather(2, columns.expand(-1, value.shape[1], -1, value.shape[3]))
            new = tap.see(value)
            called(index)
            if new is None or not stream:
                return new
            value.copy_(new)  # the skip connection holds the same tensor, and must see the replacement too
            return None

        return hook

    def _watcher(self, index: int, tap: Hook, called: Callable[[int], None]) -> Callable[[Call], None]:
        def watch(call: Call) -> None:
            hook_values.at_attention(call, tap)
            called(index)

        return watch

    def _unreachable(self) -> dict[str, str]:
        """The kinds whose hook point this bridge does not have."""
        return {
            kind: f"this bridge has no {POINTS[kind].format(0)}"
            for kind in self.architecture.kinds
            if kind in POINTS and self.wrapped.get_hook_point(POINTS[kind].format(0)) is None
        }

    def _silent(self) -> dict[str, str]:
        """The kinds whose hook point does not fire in this bridge's forward."""
        import torch

        fired: set[str] = set()
        points = {kind: POINTS[kind].format(0) for kind in self.kinds() if kind in POINTS}
        hooks = [(point, lambda _, hook, kind=kind: fired.add(kind)) for kind, point in points.items()]
        with torch.no_grad(), self.wrapped.hooks(fwd_hooks=hooks):
            d_in = self.architecture.shape.d_in
            given = torch.tensor([[1, 2]]) if d_in is None else example(d_in, [2])[0][None]
            self.wrapped(*self.entering(given).values(), return_type="logits")
        return {kind: f"{point} does not fire in this bridge" for kind, point in points.items() if kind not in fired}
