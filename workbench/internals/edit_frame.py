"""Which tokens an edit acts on: positions of each row's prompt, and the passes of the model in which it acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union

from ..errors import UsageError
from .token_positions import Positions, columns_of

if TYPE_CHECKING:
    from torch import Tensor

    from .tokens import TokenBatch

During = Union[Literal["all", "prompt", "generation"], int, range]  # noqa: UP007 - Literal | int fails at run time
"""When an edit acts: always, in the pass over the prompt, in those over generated tokens, or in some steps of these.

Step n is the pass in which generated token n, counted from 0, goes in, and token n + 1 is chosen.
"""
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
        columns, keep = columns_of(self.tokens.lengths, positions)
        index = torch.arange(columns.shape[1]).expand_as(columns)
        columns = columns + self.pads[:, None] - self.start
        keep = keep & (columns >= 0) & (columns < count)
        return rows.expand_as(columns)[keep], columns[keep], index[keep]
