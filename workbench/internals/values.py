"""What goes into a model without a vocabulary: rows of numbers in the place of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..errors import UsageError
from .tokens import TokenBatch


@dataclass(frozen=True, eq=False)
class ValueBatch(TokenBatch):
    """A batch of rows of numbers: `ids` holds values `[batch, position, d_in]`, right-padded with 0."""

    @classmethod
    def read(cls, values: Any, d_in: int) -> ValueBatch:
        """Build a batch from `[batch, position, d_in]`, from one row `[position, d_in]`, or from rows of any lengths.

        Tensors, arrays and lists are taken. Raises `UsageError` for what is none of it or is not finite.
        """
        if isinstance(values, TokenBatch):
            if not isinstance(values, ValueBatch):
                raise UsageError(f"this model has no vocabulary: {_NEEDED.format(d_in)}")
            rows = [row[:length] for row, length in zip(values.ids, values.lengths.tolist(), strict=True)]
        else:
            rows = _rows(values, d_in)
        for place, row in enumerate(rows):
            if row.ndim != 2 or row.shape[1] != d_in or not len(row):
                raise UsageError(f"row {place} has the shape {list(row.shape)}; {_NEEDED.format(d_in)}")
            if not bool(row.isfinite().all()):
                raise UsageError(f"row {place} has a value that is not a finite number")
        if isinstance(values, ValueBatch):
            return values
        lengths = torch.tensor([len(row) for row in rows])
        return cls(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)


_NEEDED = "give values [batch, position, {0}], or rows [position, {0}]"


def _rows(values: Any, d_in: int) -> list[Tensor]:
    """The rows of what someone gave, each a floating tensor of its own."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__") or not len(values):
        raise UsageError(f"this model has no vocabulary and takes no text: {_NEEDED.format(d_in)}")
    try:
        # what comes as plain numbers is as precise as they are, whatever the default type of tensors
        typed = [part if hasattr(part, "dtype") else torch.tensor(part, dtype=torch.float64) for part in values]
        rows = [torch.as_tensor(part) for part in typed]
        rows = [torch.stack(rows)] if all(row.ndim == 1 for row in rows) else rows
    except (ValueError, TypeError, RuntimeError):
        raise UsageError(f"these are no rows of numbers; {_NEEDED.format(d_in)}") from None
    return [row.to(torch.promote_types(torch.float32, rows[0].dtype)) for row in rows]


class ValuePrompts:
    """Reads what is given to a model without a vocabulary; it has no texts."""

    def __init__(self, d_in: int) -> None:
        self._d_in = d_in

    def tokens(self, prompt: Any, chat: bool = False) -> ValueBatch:
        """Values `[batch, position, d_in]`; raises `UsageError` for what is none."""
        if chat:
            self._no_text()
        return ValueBatch.read(prompt, self._d_in)

    def text(self, ids: Any) -> NoReturn:
        """There is none: raises `UsageError`."""
        self._no_text()

    def text_tokens(self, ids: Any) -> NoReturn:
        """There are none: raises `UsageError`."""
        self._no_text()

    def _no_text(self) -> NoReturn:
        raise UsageError(f"this model has no vocabulary, so no texts and no tokens: {_NEEDED.format(self._d_in)}")


def example(d_in: int, lengths: Sequence[int]) -> list[Tensor]:
    """Rows of these lengths for a check, the same at every call: `[position, d_in]` each."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(length, d_in, generator=generator, dtype=torch.float32) for length in lengths]
