"""Attention weights fixed to those of another run, or to uniform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import SiteError, UsageError
from .attention_edits import AttentionEdit, HeadsLike, PositionsLike
from .edit_frame import During
from .sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from .architectures import Architecture


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FixedWeights(AttentionEdit):
    """Weights are uniform, or those of another run's queries and keys, by layer; see `fix_weights`."""

    to: Literal["uniform"] | Mapping[int, tuple[Tensor, Tensor]]
    lengths: tuple[int, ...] | None = None
    rotated: bool = False
    """Whether they are queries and keys as attention uses them, and not those of the projections."""

    def check(self, architecture: Architecture) -> None:
        super().check(architecture)
        if not isinstance(self.to, str) and not self.rotated and "q_rot" in architecture.kinds:
            raise UsageError(
                f"{architecture.name} rotates queries and keys by position: capture 'q_rot' and 'k_rot' in the other "
                "run, not 'q' and 'k'"
            )


def fix_weights(
    to: Any,
    queries: PositionsLike = None,
    layers: Any = None,
    heads: HeadsLike = None,
    *,
    during: During | None = None,
) -> FixedWeights:
    """Fix attention weights to "uniform" over the keys that are seen, or to those of another run.

    `to` is what was captured there of `q_rot` and `k_rot` at all positions, in every layer asked for (`q` and `k` in a
    model without rotation): the weights are computed from them, in memory that grows with T, and are exactly that
    run's where nothing else is edited. They hold in the pass over the prompt, "uniform" as `during` says.
    """
    if isinstance(to, str):
        if to != "uniform":
            raise UsageError(f"weights are fixed to 'uniform' or to what was captured in another run, not {to!r}")
        return FixedWeights(to="uniform", queries=queries, layers=layers, heads=heads, during=during or "all")
    if during not in (None, "prompt"):
        raise UsageError("another run's weights are those of its prompt: leave during out")
    asked = FixedWeights(to="uniform", queries=queries, layers=layers, heads=heads)
    names = sorted({at for at, _ in asked.heads}) if asked.pairs else asked.layers  # type: ignore[misc, union-attr]
    parts, rotated = _captured(to, names)
    return FixedWeights(
        to=parts,
        lengths=tuple(to.lengths.tolist()),
        rotated=rotated,
        queries=queries,
        layers=None if asked.pairs else tuple(parts),
        heads=heads,
        during="prompt",
    )


def _captured(seen: Any, layers: Sequence[int] | None) -> tuple[dict[int, tuple[Tensor, Tensor]], bool]:
    """Queries and keys of each layer from what was captured, and whether they are rotated."""
    if not hasattr(seen, "lengths") or not isinstance(seen, Mapping):
        raise UsageError(
            f"weights are fixed to 'uniform' or to what session.capture read in another run, not {type(seen).__name__}"
        )
    if getattr(seen, "positions", None) is not None:
        raise UsageError("the other run's q_rot and k_rot are needed at all positions: capture them without positions")
    if layers is None:
        sites = [Site.parse(name) for name in seen]
        layers = sorted({site.layer for site in sites if site.layer is not None and site.kind in ("q_rot", "q")})
    if not layers:
        raise UsageError("capture 'q_rot.*' and 'k_rot.*' in the other run ('q.*' and 'k.*' without rotation)")
    for rotated, kinds in ((True, ("q_rot", "k_rot")), (False, ("q", "k"))):
        names = {layer: [f"{kind}.{layer}" for kind in kinds] for layer in layers}
        if all(name in seen for pair in names.values() for name in pair):
            return {layer: (seen[query], seen[key]) for layer, (query, key) in names.items()}, rotated
    raise SiteError(
        f"q_rot and k_rot of the layers {', '.join(map(str, layers))} are needed (q and k in a model without "
        f"rotation); captured is: {', '.join(map(str, seen)) or 'nothing'}"
    )
