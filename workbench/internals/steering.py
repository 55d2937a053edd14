"""What prompts are answered when a value is set along a direction, many directions and values at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import edits
from .hooks import edit_hooks
from .prefix_cache import CachedPrompts, answers, run

if TYPE_CHECKING:
    from ..progress import Reporter
    from .session import Session

AT_ONCE = 48
"""Rows that are steered at once."""


@dataclass(frozen=True)
class SteeringSpec:
    """A direction of length one `[d_model]` after a block, and a value to set along it."""

    layer: int
    direction: Tensor
    value: float


def steered(
    session: Session, waiting: CachedPrompts, settings: Sequence[SteeringSpec], progress: Reporter, stage: str
) -> list[list[str]]:
    """The answers `[setting][row]` of waiting prompts, at the last token of each and at every token generated after."""
    said: list[list[str]] = [[""] * len(waiting.last) for _ in settings]
    groups = [(layer, group) for layer, group in _by_layer(settings, len(waiting.last))]
    for layer, group in progress.steps(groups, stage):
        rows = [row for _, row in group]
        chosen = [settings[place] for place, _ in group]
        found = answers(session, waiting.pick(rows), _edits(layer, chosen))
        for (place, row), text in zip(group, found, strict=True):
            said[place][row] = text
    return said


def next_tokens(session: Session, waiting: CachedPrompts, settings: Sequence[SteeringSpec]) -> Tensor:
    """Probabilities of the next token `[setting, row, vocabulary]` with each setting at the last token."""
    rows = len(waiting.last)
    return torch.stack([_next(session, waiting.pick(range(rows)), [setting] * rows) for setting in settings])


def next_tokens_of_one(session: Session, waiting: CachedPrompts, settings: Sequence[SteeringSpec]) -> Tensor:
    """The same `[setting, vocabulary]` for a single waiting prompt and settings of one layer, all at once."""
    return _next(session, waiting.pick([0] * len(settings)), settings)


def _next(session: Session, picked: CachedPrompts, settings: Sequence[SteeringSpec]) -> Tensor:
    """Probabilities of the next token `[row, vocabulary]`, each row with its own setting, all of one layer."""
    from .edits import Frame
    from .tokens import TokenBatch

    frame = Frame(TokenBatch(picked.last[:, None], torch.ones(len(settings), dtype=torch.int64)))
    with torch.no_grad():
        hooks = edit_hooks(session.hooked.engine, _edits(settings[0].layer, settings)[:1], frame)
        return run(session, picked, hooks).softmax(-1).cpu()


def _edits(layer: int, chosen: Sequence[SteeringSpec]) -> list[edits.Edit]:
    directions = torch.stack([setting.direction for setting in chosen])[:, None]
    values = torch.tensor([[setting.value] for setting in chosen], dtype=torch.float32)
    site = f"resid_post.{layer}"
    return [
        edits.project(site, directions, values, positions=[-1], during="prompt"),
        edits.project(site, directions, values, during="generation"),
    ]


def _by_layer(settings: Sequence[SteeringSpec], rows: int) -> list[tuple[int, list[tuple[int, int]]]]:
    """Pairs of setting and row, of one layer each, as many at once as may run."""
    layers = sorted({setting.layer for setting in settings})
    found = []
    for layer in layers:
        pairs = [(p, row) for p, setting in enumerate(settings) if setting.layer == layer for row in range(rows)]
        found += [(layer, pairs[start : start + AT_ONCE]) for start in range(0, len(pairs), AT_ONCE)]
    return found
