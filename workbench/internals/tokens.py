"""Token ids of a batch, right-padded, with positions that count real tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

from ..errors import UsageError
from .token_positions import columns_of, positions_of

if TYPE_CHECKING:
    from torch import Tensor

TokensLike = Union["TokenBatch", "Tensor", Sequence[int], Sequence[Sequence[int]], Sequence["Tensor"]]


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """A batch of token ids `[batch, position]`, right-padded with 0, and each row's length `[batch]`, both int64.

    A position of a row is an index from 0; a negative one counts from the end of that row, whatever the padding.
    """

    ids: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, ids: TokensLike) -> TokenBatch:
        """Build a batch from one row of ids, from rows of any lengths, or from an id tensor without padding.

        Raises `UsageError` for an empty batch or row, or for what is not ids.
        """
        import torch

        if isinstance(ids, TokenBatch):
            return ids
        rows: list[Any] = ids.tolist() if isinstance(ids, torch.Tensor) else list(ids)
        if rows and all(isinstance(row, int) for row in rows):
            rows = [rows]
        rows = [row.tolist() if isinstance(row, torch.Tensor) else row for row in rows]
        if not rows or not all(isinstance(row, Sequence) and len(row) for row in rows):
            raise UsageError("a prompt needs at least one token in every row; give token ids, or rows of token ids")
        if not all(isinstance(token, int) and token >= 0 for row in rows for token in row):
            raise UsageError("token ids are whole numbers from 0 on")
        lengths = torch.tensor([len(row) for row in rows])
        padded = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
        for i, row in enumerate(rows):
            padded[i, : len(row)] = torch.tensor(row)
        return cls(padded, lengths)

    @property
    def batch(self) -> int:
        return self.ids.shape[0]

    @property
    def width(self) -> int:
        """The length of the longest row."""
        return self.ids.shape[1]

    @cached_property
    def padded(self) -> bool:
        """Whether any row is shorter than the batch is wide."""
        return bool((self.lengths < self.width).any())

    @property
    def attention_mask(self) -> Tensor:
        """Where there is a token and not padding, bool `[batch, position]`."""
        import torch

        return torch.arange(self.width, device=self.lengths.device) < self.lengths[:, None]

    def rows(self) -> list[list[int]]:
        """The ids of each row without padding."""
        return [row[:length] for row, length in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)]

    def columns(self, positions: Any) -> Tensor:
        """The column of each position in each row, int64 `[batch, position]`; positions may be given row by row.

        Raises `UsageError` for a position outside a row, with that row's length, and for rows with more than others.
        """
        asked = positions_of(positions)
        if asked is None or not len(asked):
            raise UsageError(f"at least one position is needed, or None for all where that can be; not {positions!r}")
        columns, keep = columns_of(self.lengths, asked)
        if not keep.all() or not columns.numel():
            raise UsageError("every row needs as many positions as the others, at least one")
        return columns

    def at_columns(self, logits: Tensor, columns: Tensor | None) -> Tensor:
        """Logits at the asked columns `[batch, position, vocabulary]`, out of those at the columns' sorted union.

        `columns` None is all of them, with zero at padding.
        """
        import torch

        if columns is None:
            return logits.where(self.attention_mask.to(logits.device)[..., None], 0) if self.padded else logits
        index = torch.searchsorted(columns.unique(), columns).to(logits.device)
        return logits[torch.arange(self.batch, device=logits.device)[:, None], index]


def stop_tokens(model: Any) -> set[int]:
    """The ids that end a text according to the model's generation configuration, or its configuration."""
    settings = getattr(model, "generation_config", None) or model.config
    ends = getattr(settings, "eos_token_id", None)
    return set() if ends is None else {ends} if isinstance(ends, int) else set(ends)
