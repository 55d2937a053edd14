"""Edits: what is to be changed while the model runs, at a site, in its attention, or in where its tokens stand.

`edits.set("z.5.3", 0.0)` writes a value, `edits.add("resid_post.5", vector, positions=[-1])` adds one,
`edits.project("resid_post.5", direction)` removes what lies along a direction or sets it, `edits.patch("z.5",
seen["z.5"])` writes what was captured in another run, and `edits.apply` writes what a function makes of what is there.

`edits.knock_out(queries=[-1], keys=range(3, 9), layers=range(10, 20))` lets tokens no longer see others;
`scale_scores`, `add_to_scores`, `scale_weights`, `fix_weights`, `window` and `block_mask` change attention in other
ways, and `shift_positions`, `self_extend` and their kind where its heads take tokens to stand.

Every edit is a frozen value: `edit.json()` goes into a record, and `edits.of_json` reads it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union

from ..errors import UsageError
from .attention_edits import (
    AttentionEdit,
    DocumentMask,
    KnockOut,
    ScoreEdit,
    WeightEdit,
    WindowEdit,
    add_to_scores,
    block_mask,
    knock_out,
    scale_scores,
    scale_weights,
    window,
)
from .edit_frame import During, Frame
from .edit_values import EditValue, read
from .fixed_weights import FixedWeights, fix_weights
from .position_edits import (
    PositionEdit,
    interpolate_positions,
    ntk_frequencies,
    self_extend,
    set_positions,
    shift_positions,
    step_positions,
    truncate_frequencies,
)
from .site_edits import Edit, add, apply, clamp, patch, project, project_out, scale, set

if TYPE_CHECKING:
    from .architectures import Architecture

EditLike = Union[EditValue, Sequence[EditValue]]  # noqa: UP007 - as other aliases of this kind
KINDS: tuple[type[EditValue], ...] = (
    Edit,
    KnockOut,
    ScoreEdit,
    WeightEdit,
    WindowEdit,
    DocumentMask,
    FixedWeights,
    PositionEdit,
)
"""Every kind of edit that a record can hold."""


def of_json(written: Any) -> EditValue:
    """The edit that `edit.json()` wrote.

    Raises `UsageError` for what is no edit, and where a function or a large tensor was only named.
    """
    kinds = {kind.__name__: kind for kind in KINDS}
    name = written.get("edit") if isinstance(written, dict) else None
    if name not in kinds:
        raise UsageError(f"no edit of the kind {name!r}; there is: {', '.join(sorted(kinds))}")
    try:
        return kinds[name](**{key: read(value) for key, value in written.items() if key != "edit"})
    except TypeError as error:
        raise UsageError(f"the edit {name} cannot be read back: {error}") from error


def listed(edits: Any) -> list[EditValue]:
    """One edit or several as a list; raises `UsageError` for what is no edit."""
    given = [edits] if isinstance(edits, EditValue) else list(edits) if isinstance(edits, (list, tuple)) else [edits]
    for one in given:
        if not isinstance(one, EditValue):
            raise UsageError(
                f"edits are made by the functions of wb.edits (set, add, project, patch, apply, knock_out, …), not "
                f"{type(one).__name__} {one!r}"
            )
    return given


def divided(edits: Any, architecture: Architecture) -> tuple[list[Edit], list[AttentionEdit]]:
    """Edits of sites, one for each site that an address stands for, and edits of attention, each in their order."""
    given = listed(edits)
    at_sites = [one for edit in given if isinstance(edit, Edit) for one in edit.at_sites(architecture)]
    return at_sites, [edit for edit in given if isinstance(edit, AttentionEdit)]


def learns(edits: Any) -> bool:
    """Whether a value of an edit carries a gradient."""
    return any(isinstance(edit, Edit) and edit.learns for edit in listed(edits))


def refuse_learning(edits: Any, what: str) -> None:
    """Raise `UsageError` if a value carries a gradient, where none can be taken."""
    if learns(edits):
        raise UsageError(
            f"{what} takes no gradient, and a value of these edits carries one: give value.detach(), or take "
            "session.logits or session.capture, whose results carry it on"
        )


__all__ = [
    # at sites
    "Edit",
    "set",
    "add",
    "scale",
    "clamp",
    "project",
    "project_out",
    "patch",
    "apply",
    # attention
    "AttentionEdit",
    "knock_out",
    "scale_scores",
    "add_to_scores",
    "scale_weights",
    "window",
    "block_mask",
    "fix_weights",
    # positions
    "shift_positions",
    "step_positions",
    "set_positions",
    "interpolate_positions",
    "truncate_frequencies",
    "ntk_frequencies",
    "self_extend",
    # for those who run models
    "EditValue",
    "Frame",
    "During",
    "EditLike",
    "of_json",
    "listed",
    "divided",
    "learns",
]
