"""Edits made ready for one run: checked, as taps, and as positions of the tokens where a model learns those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .attention_plan import AttentionPlan
from .edits import divided
from .position_edits import PositionEdit, placement
from .site_changes import changed

if TYPE_CHECKING:
    from torch import Tensor

    from .edit_frame import Frame
    from .engines.base import Hook
    from .hooked_model import HookedModel
    from .site_edits import Edit


@dataclass(frozen=True, eq=False)
class PreparedEdits:
    """The taps of a run, and the edits that move all tokens of a model whose positions are learned."""

    taps: list[Hook]
    frame: Frame
    moves: tuple[PositionEdit, ...]
    name: str
    context: int | None

    def positions(self, count: int) -> Tensor | None:
        """Positions to give the model in this pass of `count` tokens, int `[batch, token]`; None for its own.

        Raises `UsageError` for a position that the model has not learned.
        """
        if not self.moves:
            return None
        start = self.frame.before
        acting = tuple(edit for edit in self.moves if self.frame.acts(edit.during))
        new = placement(acting, self.frame, start + count).new[:, start:]
        real = placement((), self.frame, start + count).new[:, start:] >= 0
        wrong = real & ((new != new.round()) | (new < 0) | (new >= (self.context or float("inf"))))
        if wrong.any():
            raise UsageError(
                f"{self.name} has learned positions 0 to {(self.context or 0) - 1}, and these edits put a token at "
                f"{float(new[wrong][0]):g}"
            )
        return new.clamp(min=0).long()


def prepared(hooked: HookedModel, edits: Any, frame: Frame) -> PreparedEdits:
    """Check edits for a run over these tokens, and make them ready; raises `UsageError` before anything runs."""
    from .engines.base import Hook

    engine, architecture = hooked.engine, hooked.architecture
    at_sites, of_attention = divided(edits, architecture)
    engine.check(edit.site for edit in at_sites)  # type: ignore[misc]
    for edit in of_attention:
        edit.check(architecture)
    moves = tuple(edit for edit in of_attention if isinstance(edit, PositionEdit) and _of_all(edit))
    if moves:
        known = hooked.positions()
        if known.refused is not None or not known.learned or any(known.rotations):
            moves = ()
    rest = tuple(edit for edit in of_attention if edit not in moves)
    plan = AttentionPlan(rest, frame, engine, hooked.positions)
    plan.check()

    def tap(edit: Edit) -> Hook:
        return Hook(edit.site.whole, lambda whole: changed(edit, whole, frame))  # type: ignore[union-attr]

    taps = [*map(tap, at_sites), *plan.taps()]
    found = PreparedEdits(taps, frame, moves, architecture.name, architecture.shape.context)
    found.positions(frame.tokens.width - frame.start)
    return found


def _of_all(edit: PositionEdit) -> bool:
    """Whether it moves tokens, for every layer and head."""
    return edit.layers is None and edit.heads is None and edit.op in ("shift", "step", "at")
