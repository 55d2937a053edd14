"""Edits of a batch, for a part of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .edits import Edit
from .tokens import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor


def for_rows(edit: Edit, rows: Sequence[int], batch: TokenBatch, width: int | None = None) -> Edit:
    """An edit of a batch for some of its rows, each as often as it is named, padded to another width if one is given.

    Tensors with one entry a row are picked from, those with one entry a position are cut to the width; what is alike
    for all stays. Raises `UsageError` for a tensor with another number of rows.
    """
    axes = len(edit.site.axes)
    by_position = edit.positions is None or edit.op == "patch"

    def chosen(value: float | Tensor | None, axes: int) -> float | Tensor | None:
        if value is None or isinstance(value, (int, float)) or value.ndim < axes - 1:
            return value
        if width is not None and by_position and value.shape[value.ndim - axes + 1] == batch.width:
            value = value.narrow(value.ndim - axes + 1, 0, width)
        if value.ndim < axes or value.shape[0] == 1:
            return value
        if value.shape[0] != batch.batch:
            raise UsageError(
                f"the edit {edit.op!r} at '{edit.site}' has {value.shape[0]} rows, and there are {batch.batch} prompts"
            )
        return value[list(rows)]

    value = chosen(edit.value, axes - (edit.op == "project"))
    direction: Any = chosen(edit.direction, axes)
    return replace(edit, value=value, direction=direction)
