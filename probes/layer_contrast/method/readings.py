"""What a stream says at some tokens: its logits, and the states from which its lower layers' logits are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Reading:
    """logits `[row, vocabulary]`; states by hidden state `[row, d]`; `unembed` makes logits of rows of one of them."""

    logits: Tensor
    states: Mapping[int, Tensor] = field(default_factory=dict)
    unembed: Callable[[int, Tensor], Tensor] = lambda index, rows: rows
    known: dict[tuple[int, ...], dict[str, Tensor]] = field(default_factory=dict)
    """Divergences of hidden states from the last one, as far as they were computed."""

    def lower(self, index: int) -> Tensor:
        """The logits of a hidden state, `[row, vocabulary]`."""
        return self.unembed(index, self.states[index])

    def picked(self, index: Tensor) -> Tensor:
        """The logits of another hidden state in each row, by `index [row]`."""
        made = torch.empty_like(self.logits)
        for one in index.unique().tolist():
            rows = index == one
            made[rows] = self.unembed(one, self.states[one][rows]).to(made.dtype)
        return made


Readings = Mapping[str, Reading]
"""Streams by their names."""
