"""Edits of a batch, for a part of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from ..errors import UsageError
from .attention_edits import AttentionEdit
from .edit_values import EditValue, is_tensor
from .edits import Edit
from .fixed_weights import FixedWeights
from .position_edits import PositionEdit
from .tokens import TokenBatch

Kind = TypeVar("Kind", bound=EditValue)


def for_rows(edit: Kind, rows: Sequence[int], batch: TokenBatch, width: int | None = None) -> Kind:
    """An edit of a batch for some of its rows, each as often as it is named, padded to another width if one is given.

    What is given row by row is picked from, tensors with one entry a position are cut to the width; what is alike for
    all stays. Raises `UsageError` for another number of rows.
    """
    make = _of_site if isinstance(edit, Edit) else _of_attention
    return make(edit, rows, batch, width)  # type: ignore[arg-type, return-value]


def _of_site(edit: Edit, rows: Sequence[int], batch: TokenBatch, width: int | None) -> Edit:
    axes = len(edit.site.axes)
    by_position = edit.positions is None or edit.op == "patch"

    def chosen(value: Any, axes: int) -> Any:
        if not is_tensor(value) or value.ndim < axes - 1:
            return value
        if width is not None and by_position and value.shape[value.ndim - axes + 1] == batch.width:
            value = value.narrow(value.ndim - axes + 1, 0, width)
        if value.ndim < axes or value.shape[0] == 1:
            return value
        if value.shape[0] != batch.batch:
            raise _other_rows(f"the edit {edit.op!r} at '{edit.site}'", value.shape[0], batch)
        return value[list(rows)]

    value = chosen(edit.value, axes - (edit.op == "project"))
    direction = edit.direction if edit.op == "project_out" else chosen(edit.direction, axes)
    return replace(edit, value=value, direction=direction, positions=_picked(edit.positions, rows, batch, "positions"))


def _of_attention(edit: EditValue, rows: Sequence[int], batch: TokenBatch, width: int | None) -> EditValue:
    assert isinstance(edit, AttentionEdit)
    named = {field.name for field in fields(edit)} & {"queries", "keys", "tokens", "documents", "by"}
    given = {name: _picked(getattr(edit, name), rows, batch, name) for name in named}
    for name in ("documents", "by"):
        value = given.get(name)
        if width is not None and isinstance(value, tuple) and not isinstance(value[0], tuple):
            given[name] = value[:width]
        elif width is not None and isinstance(value, tuple) and isinstance(edit, PositionEdit):
            given[name] = tuple(row[:width] for row in value)
    lengths = edit.lengths if isinstance(edit, FixedWeights) else None
    if isinstance(edit, FixedWeights) and not isinstance(edit.to, str) and lengths is not None and len(lengths) > 1:
        if len(lengths) != batch.batch:
            raise _other_rows("the other run", len(lengths), batch)
        given["to"] = {layer: tuple(part[list(rows), :width] for part in pair) for layer, pair in edit.to.items()}
        given["lengths"] = tuple(lengths[row] for row in rows)
    return replace(edit, **given)


def _picked(value: Any, rows: Sequence[int], batch: TokenBatch, word: str) -> Any:
    """What is given row by row, for some rows."""
    if not isinstance(value, tuple) or not any(isinstance(one, tuple) for one in value) or len(value) == 1:
        return value
    if len(value) != batch.batch:
        raise _other_rows(f"{word} of an edit", len(value), batch)
    return tuple(value[row] for row in rows)


def _other_rows(what: str, count: int, batch: TokenBatch) -> UsageError:
    return UsageError(f"{what} has {count} rows, and there are {batch.batch} prompts")
