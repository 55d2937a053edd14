"""What a stream says at some tokens: its logits, and the states from which its lower layers' logits are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.kernels.backends import Backend

HELD = 1 << 27
"""Logits of hidden states that are held at once, instead of being made again for each method."""


@dataclass(frozen=True, eq=False)
class Reading:
    """logits `[row, vocabulary]`; states by hidden state `[row, d]`; `unembed` makes logits of rows of one of them."""

    logits: Tensor
    states: Mapping[int, Tensor] = field(default_factory=dict)
    unembed: Callable[[int, Tensor], Tensor] = lambda index, rows: rows
    known: dict[tuple[int, ...], dict[str, Tensor]] = field(default_factory=dict)
    """Divergences of hidden states from the last one, as far as they were computed."""
    said: dict[int, Tensor] = field(default_factory=dict)
    """Logits of hidden states, as far as they were computed; of readings with few rows alone."""

    def lower(self, index: int) -> Tensor:
        """The logits of a hidden state, `[row, vocabulary]`."""
        if index in self.said:
            return self.said[index]
        made = self.unembed(index, self.states[index])
        if self.small:
            self.said[index] = made
        return made

    @property
    def small(self) -> bool:
        """Whether the logits of all its hidden states may be held at once."""
        return len(self.states) * self.logits.numel() <= HELD

    def picked(self, index: Tensor) -> Tensor:
        """The logits of another hidden state in each row, by `index [row]`."""
        made = torch.empty_like(self.logits)
        for one in index.unique().tolist():
            rows = index == one
            known = self.said.get(one)
            made[rows] = (self.unembed(one, self.states[one][rows]) if known is None else known[rows]).to(made.dtype)
        return made


Readings = Mapping[str, Reading]
"""Streams by their names."""


def backend_of(logits: Tensor) -> Backend:
    """float64 is computed in float64."""
    return "reference" if logits.dtype == torch.float64 else "auto"


def joined(several: Sequence[Reading]) -> Reading:
    """The rows of several readings of one stream, after each other."""
    first = several[0]
    states = {index: torch.cat([each.states[index] for each in several]) for index in first.states}
    return Reading(torch.cat([each.logits for each in several]), states, first.unembed)
