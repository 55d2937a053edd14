"""A learner asked: what it says after every prefix of a prompt, of any queries, and how it depends on the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.errors import UsageError

from .config import IclRegressionConfig
from .prompts import tokens

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.progress import Reporter

ROWS = 512
"""Prompts that go through the model at once."""


@dataclass(frozen=True)
class Task:
    """What a learner is asked, as the settings and the learner say."""

    length: int
    dimensions: int
    noise: float
    spread: float

    @property
    def ratio(self) -> float:
        """σ²/τ², the penalty of the Bayes predictor."""
        return self.noise**2 / self.spread**2


def task_of(session: Session, config: IclRegressionConfig) -> Task:
    """The task of a learner.

    Raises `UsageError` where the settings do not fit it, with what does.
    """
    shape = session.shape
    assert shape.d_in is not None
    own = shape.d_in - 1
    if config.dimensions not in (None, own):
        raise UsageError(f"this learner takes x of {own} dimensions, not {config.dimensions}; leave dimensions out")
    positions = shape.context
    most = positions // 2 if positions is not None else None
    length = config.length or most or 12
    if most is not None and length > most:
        raise UsageError(
            f"prompts of {length} pairs do not fit the {positions} positions of this learner; set length={most} or less"
        )
    if length <= max(own, 2):
        raise UsageError(
            f"prompts of {length} pairs are no longer than {own} dimensions; take length from {max(own, 2) + 1} on"
        )
    if config.prefixes is not None and max(config.prefixes) >= length:
        raise UsageError(
            f"a prefix of {max(config.prefixes)} pairs leaves no query in prompts of {length}; prefixes end at "
            f"{length - 1}"
        )
    trained = getattr(session.model.config, "task", None) or {}
    noise = config.noise if config.noise is not None else float(trained.get("noise", 0.0))
    spread = config.spread if config.spread is not None else float(trained.get("spread", 1.0))
    return Task(length, own, noise, spread)


def answers(session: Session, x: Tensor, y: Tensor, progress: Reporter, stage: str) -> Tensor:
    """What the learner says of each pair from those before it, float64 `[prompt, prefix]`."""
    found = []
    for at in progress.steps(range(0, len(x), ROWS), stage):
        said = session.logits(tokens(x[at : at + ROWS], y[at : at + ROWS]))
        found.append(said[:, 0::2, 0].double().cpu())
    return torch.cat(found)


def answers_to(session: Session, x: Tensor, y: Tensor, queries: Tensor, progress: Reporter, stage: str) -> Tensor:
    """What it says of `queries [prompt, query, d]` after the pairs `x [prompt, pair, d]`, float64 `[prompt, query]`."""
    prompts, asked = queries.shape[:2]
    rows = torch.cat([x[:, None].expand(-1, asked, -1, -1), queries[:, :, None]], 2).flatten(0, 1)
    labels = torch.cat([y[:, None].expand(-1, asked, -1), torch.zeros(prompts, asked, 1)], 2).flatten(0, 1)
    found = []
    for at in progress.steps(range(0, len(rows), ROWS), stage):
        said = session.logits(tokens(rows[at : at + ROWS], labels[at : at + ROWS]), positions=[-1])
        found.append(said[:, 0, 0].double().cpu())
    return torch.cat(found).view(prompts, asked)


def label_sensitivity(session: Session, x: Tensor, y: Tensor) -> Tensor:
    """∂ŷ/∂y_i of the last pair's prediction by each label before it, float64 `[prompt, pair]`."""
    seen = session.gradients(tokens(x, y), "embed", lambda logits: logits[:, -1, 0].sum())["embed"]
    along = session.model.read_in.weight[:, 0].detach().double().cpu()
    return (seen.double().cpu() @ along)[:, 1::2]
