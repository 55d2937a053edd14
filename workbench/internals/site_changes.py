"""What an edit makes of the tensor that passes at its site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from .edit_values import is_tensor
from .token_positions import columns_of

if TYPE_CHECKING:
    from torch import Tensor

    from .edit_frame import Frame
    from .site_edits import Edit


def changed(edit: Edit, whole: Tensor, frame: Frame) -> Tensor | None:
    """The whole site's tensor with the edit made, or None where the edit has nothing to do in this pass."""
    import torch

    if not frame.acts(edit.during) or (frame.generating and edit.positions is not None):
        return None
    rows, columns, index = (part.to(whole.device) for part in frame.columns(edit.positions, whole.shape[1]))
    if not len(rows):
        return None
    part = edit.site.head if edit.site.head is not None else edit.site.neuron  # type: ignore[union-attr]
    at = (rows, columns) if part is None else (rows, columns, torch.full_like(rows, part))
    now = whole[at]
    shape = (frame.tokens.batch, _count(edit, frame), *now.shape[1:])
    new = _new(edit, now, shape, rows, index, frame)
    if new is None:
        return None
    written = whole.clone()
    written[at] = new
    return written


def _count(edit: Edit, frame: Frame) -> int:
    """How many positions a row has that are edited, the most of any row."""
    if frame.generating:
        return 1
    return columns_of(frame.tokens.lengths, edit.positions)[0].shape[1]


def _new(
    edit: Edit, now: Tensor, shape: tuple[int, ...], rows: Tensor, index: Tensor, frame: Frame
) -> float | Tensor | None:
    """What takes the place of the entries `now` `[token, …]`, which are those at `rows` and `index` of `shape`."""

    def pick(value: object, shape: tuple[int, ...] = shape) -> float | Tensor:
        if not is_tensor(value):
            return value  # type: ignore[return-value]
        return _broadcast(edit, value.to(now), shape)[rows, index]  # type: ignore[attr-defined]

    match edit.op:
        case "project":
            assert edit.direction is not None
            unit = pick(edit.direction / edit.direction.norm(dim=-1, keepdim=True))
            target = 0.0 if edit.value is None else pick(edit.value, shape[:-1])
            return now + (target - (now * unit).sum(-1))[..., None] * unit
        case "project_out":
            assert edit.direction is not None
            basis = edit.direction.to(now)
            if basis.shape[-1] != now.shape[-1]:
                raise UsageError(f"directions of {basis.shape[-1]} entries at '{edit.site}', which has {now.shape[-1]}")
            return now - (now @ basis.T) @ basis
        case "add":
            return now + pick(edit.value)
        case "scale":
            return now * pick(edit.value)
        case "clamp":
            return now.clamp(*edit.value)  # type: ignore[misc]
        case "set":
            return pick(edit.value)
        case "patch":
            return pick(_matched(edit, shape, frame))
        case "apply":
            return _applied(edit, now, shape, rows, index)
    raise UsageError(f"there is no edit {edit.op!r}")


def _applied(edit: Edit, now: Tensor, shape: tuple[int, ...], rows: Tensor, index: Tensor) -> Tensor | None:
    given = now.new_zeros(shape)
    given[rows, index] = now
    made = edit.value(given)  # type: ignore[operator, misc]
    if made is None:
        return None
    if not is_tensor(made) or tuple(made.shape) != shape:
        told = tuple(made.shape) if is_tensor(made) else type(made).__name__
        raise UsageError(
            f"the function at '{edit.site}' was given a tensor of shape {shape} and returned {told}; it returns the "
            "same shape, or None to leave it"
        )
    return made.to(now)[rows, index]


def _broadcast(edit: Edit, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return value.expand(shape)
    except RuntimeError:
        raise UsageError(
            f"the edit {edit.op!r} at '{edit.site}' was given a tensor of shape {tuple(value.shape)}, which does not "
            f"broadcast to {shape} (batch, edited positions, then the axes of the site)"
        ) from None


def _matched(edit: Edit, shape: tuple[int, ...], frame: Frame) -> Tensor:
    """The captured tensor's entries at the edited positions; clear about a shape that does not fit."""
    import torch

    value: Tensor = edit.value  # type: ignore[assignment]
    try:
        return value.expand(shape)
    except RuntimeError:
        pass
    whole = (shape[0], frame.tokens.width, *shape[2:])
    if edit.positions is not None:
        try:
            value = value.expand(whole)
        except RuntimeError:
            pass
        else:
            columns = columns_of(frame.tokens.lengths, edit.positions)[0].to(value.device)
            return value[torch.arange(shape[0], device=value.device)[:, None], columns]
    raise UsageError(
        f"the patch at '{edit.site}' has shape {tuple(value.shape)}; needed is {shape} (batch, edited positions, then "
        f"the axes of the site), or {frame.tokens.width} positions for the whole prompt"
    )
