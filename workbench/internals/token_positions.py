"""Positions of tokens, as they are given: in every row alike, or row by row, negative ones from a row's end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Positions = range | tuple[int, ...] | tuple[tuple[int, ...], ...] | None
"""Positions in every row, or one tuple of them for each row; None is every position."""


def positions_of(value: Any, word: str = "positions") -> Positions:
    """What was given for positions as a value that does not change: numbers, or numbers for each row."""
    if value is None or isinstance(value, range):
        return value
    if _whole(value):
        return (int(value),)
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, Sequence) and not isinstance(plain, str):
        if all(_whole(one) for one in plain):
            return tuple(int(one) for one in plain)
        rows = [row.tolist() if hasattr(row, "tolist") else row for row in plain]
        if all(isinstance(row, Sequence) and not isinstance(row, str) and all(map(_whole, row)) for row in rows):
            return tuple(tuple(int(one) for one in row) for row in rows)
    raise UsageError(
        f"{word} are whole numbers, negative from each row's end, or a list of them for each row, or None for all; "
        f"not {value!r}"
    )


def _whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and not getattr(value, "shape", None)


def by_row(positions: Positions) -> bool:
    """Whether each row has positions of its own."""
    return isinstance(positions, tuple) and any(isinstance(row, tuple) for row in positions)


def columns_of(lengths: Tensor, positions: Positions, word: str = "positions") -> tuple[Tensor, Tensor]:
    """Column of each position in each row `[batch, position]`, and whether it is one or only fills up a shorter row.

    Raises `UsageError` for a position outside a row, and for another number of rows.
    """
    import torch

    lengths = lengths.cpu()
    batch = len(lengths)
    if positions is None:
        columns = torch.arange(int(lengths.max())).expand(batch, -1)
        return columns, columns < lengths[:, None]
    if not by_row(positions):
        rows: list[Any] = [positions] * batch
    elif len(positions) in (1, batch):
        rows = [*positions] * (batch if len(positions) == 1 else 1)
    else:
        raise UsageError(f"{word} are given for {len(positions)} rows, and there are {batch}")
    most = max(map(len, rows))
    found = torch.zeros(batch, most, dtype=torch.int64)
    keep = torch.zeros(batch, most, dtype=torch.bool)
    for index, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
        asked = torch.tensor(list(row), dtype=torch.int64)
        at = torch.where(asked < 0, asked + length, asked)
        outside = (at < 0) | (at >= length)
        if outside.any():
            wrong = int(asked[int(outside.nonzero()[0, 0])])
            raise UsageError(
                f"{'' if word == 'positions' else word + ': '}position {wrong} is outside row {index}, which has "
                f"{length} tokens; give {-length} to {length - 1}"
            )
        found[index, : len(row)], keep[index, : len(row)] = at, True
    return found, keep
