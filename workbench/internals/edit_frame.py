"""Which tokens an edit acts on: positions of each row's prompt, and the passes of the model in which it acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union

from ..errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from .tokens import TokenBatch

During = Union[Literal["all", "prompt", "generation"], int, range]  # noqa: UP007 - Literal | int fails at run time
"""When an edit acts: always, in the pass over the prompt, in those over generated tokens, or in some steps of these.

Step n is the pass in which generated token n, counted from 0, goes in, and token n + 1 is chosen.
"""
Positions = range | tuple[int, ...] | tuple[tuple[int, ...], ...] | None
"""Positions in every row, or one tuple of them for each row; None is every position."""
PHASES = ("all", "prompt", "generation")


def during_of(value: Any) -> During:
    """What was given for `during`, checked; raises `UsageError`."""
    if isinstance(value, str) and value in PHASES:
        return value  # type: ignore[return-value]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, range) and len(value) and min(value) >= 0:
        return value
    raise UsageError(
        f"during is 'all', 'prompt' or 'generation', or a step of generation counted from 0, or a range of steps; "
        f"not {value!r}"
    )


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


def columns_of(tokens: TokenBatch, positions: Positions, word: str = "positions") -> tuple[Tensor, Tensor]:
    """Column of each position in each row `[batch, position]`, and whether it is one or only fills up a shorter row.

    Raises `UsageError` for a position outside a row, and for another number of rows.
    """
    import torch

    if positions is None:
        return torch.arange(tokens.width).expand(tokens.batch, -1), tokens.real.cpu()
    if not by_row(positions):
        rows: Sequence[Sequence[int]] = [positions] * tokens.batch  # type: ignore[list-item]
    elif len(positions) in (1, tokens.batch):
        rows = list(positions) * (tokens.batch if len(positions) == 1 else 1)  # type: ignore[arg-type]
    else:
        raise UsageError(f"{word} are given for {len(positions)} rows, and there are {tokens.batch}")
    most = max(map(len, rows))
    columns = torch.zeros(tokens.batch, most, dtype=torch.int64)
    keep = torch.zeros(tokens.batch, most, dtype=torch.bool)
    for index, (row, length) in enumerate(zip(rows, tokens.lengths.tolist(), strict=True)):
        asked = torch.tensor(list(row), dtype=torch.int64)
        at = torch.where(asked < 0, asked + length, asked)
        outside = (at < 0) | (at >= length)
        if outside.any():
            wrong = int(asked[int(outside.nonzero()[0, 0])])
            raise UsageError(
                f"{'' if word == 'positions' else word + ': '}position {wrong} is outside row {index}, which has "
                f"{length} tokens; give {-length} to {length - 1}"
            )
        columns[index, : len(row)], keep[index, : len(row)] = at, True
    return columns, keep


@dataclass
class Frame:
    """Which tokens are passing through the model: the prompt, padded on the left or right, or one new token each."""

    tokens: TokenBatch
    left: bool = False
    """Whether the padding of the prompt is on the left."""
    generating: bool = False
    step: int = 0
    """Which generated token goes in, counted from 0."""
    start: int = 0
    """How many columns of the prompt went in before this pass."""

    def acts(self, during: During) -> bool:
        """Whether an edit acts in this pass."""
        if isinstance(during, str):
            return during == "all" or self.generating == (during == "generation")
        return self.generating and (self.step == during if isinstance(during, int) else self.step in during)

    @property
    def pads(self) -> Tensor:
        """How many columns of padding are before each row's first token, `[batch]`."""
        lengths = self.tokens.lengths.cpu()
        return self.tokens.width - lengths if self.left else lengths.new_zeros(len(lengths))

    @property
    def before(self) -> int:
        """How many columns went in before this pass."""
        return self.tokens.width + self.step if self.generating else self.start

    def columns(self, positions: Positions, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Row, column and index among the asked positions, `[token]` each, of every token of this pass to be edited.

        `count` is how many columns the pass has.
        """
        import torch

        rows = torch.arange(self.tokens.batch)[:, None]
        if self.generating:
            zero = torch.zeros(self.tokens.batch, dtype=torch.int64)
            return rows[:, 0], zero, zero
        columns, keep = columns_of(self.tokens, positions)
        index = torch.arange(columns.shape[1]).expand_as(columns)
        columns = columns + self.pads[:, None] - self.start
        keep = keep & (columns >= 0) & (columns < count)
        return rows.expand_as(columns)[keep], columns[keep], index[keep]
