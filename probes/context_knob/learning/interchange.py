"""Learning a direction by rank-1 interchange between the two intents of the same item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.internals.engines.base import Hook
from workbench.internals.hooked_model import frozen
from workbench.internals.prefix_cache import CachedPrompts, prefill, residuals, run
from workbench.internals.projection import interchange, unit
from workbench.internals.sites import Site
from workbench.probe.training_loop import Optimiser, Schedule, fit
from workbench.texts.facts import Item

from ..task.prompting import Intent, Prompter

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.progress import Reporter

ROW_TWIN = 1
"""Rows of a pair are neighbours: row XOR 1 is the same item under the other intent."""


@dataclass(frozen=True)
class CounterfactualPairs:
    """Pairs of prompts, prior before context, up to their last token.

    states: residual streams after blocks at the last token, `[layer, row, d_model]`. firsts: first token of each row's
    own answer, `[row]`. confident: rows whose pair is answered right, both ways, with different first tokens.
    """

    waiting: CachedPrompts
    layers: Sequence[int]
    states: Tensor
    firsts: Tensor
    confident: np.ndarray

    @property
    def from_context(self) -> np.ndarray:
        """The intent of each row."""
        return np.arange(len(self.firsts)) % 2 == 1

    def at(self, layer: int) -> Tensor:
        """The states of one block, `[row, d_model]`."""
        return self.states[list(self.layers).index(layer)]


def counterfactual_pairs(
    session: Session, items: Sequence[Item], intent: Intent, layers: Sequence[int], begun: bool = True
) -> CounterfactualPairs:
    """Run items under both intents and keep what learning needs."""
    prompter = Prompter(session, begun)
    rows = [prompter.ask(item, way, intent) for item in items for way in (False, True)]
    firsts = torch.tensor([prompter.answer(item.answer(way))[0] for item in items for way in (False, True)])
    waiting = prefill(session, rows)
    with torch.no_grad():
        right = run(session, waiting.pick(range(len(rows)))).argmax(-1).cpu() == firsts
    differ = firsts[0::2] != firsts[1::2]
    confident = ((right[0::2] & right[1::2]) & differ).repeat_interleave(2).numpy()
    return CounterfactualPairs(waiting, layers, residuals(session, waiting, layers), firsts, confident)


@dataclass(frozen=True)
class LearntDirection:
    """A direction `[d_model]` of length one, and the loss at each step."""

    direction: Tensor
    losses: list[float]


def learn(
    session: Session,
    taught: CounterfactualPairs,
    layer: int,
    steps: int,
    batch: int,
    rate: float,
    rng: np.random.Generator,
    progress: Reporter,
    shuffled: bool = False,
) -> LearntDirection:
    """Find the direction whose interchange with the other intent gives the other intent's answer.

    The loss is the cross-entropy of the first answer token; the model is frozen. With `shuffled`, the answers wanted
    are shuffled over all rows: a control that has nothing to learn about the intent.
    """
    # a model that cannot do the task gives no rows to be sure of; then all are tried, so that nothing is found honestly
    rows = np.flatnonzero(taught.confident) if taught.confident.any() else np.arange(len(taught.firsts))
    states = taught.at(layer)
    wanted = taught.firsts[np.arange(len(taught.firsts)) ^ ROW_TWIN]
    if shuffled:
        wanted = wanted[torch.from_numpy(rng.permutation(len(wanted)))]
    raw = torch.from_numpy(rng.standard_normal(states.shape[-1])).float()
    raw = unit(raw).requires_grad_()

    def loss(step: int) -> Tensor:
        chosen = rng.choice(rows, min(batch, len(rows)), replace=False)
        hook = _interchange(layer, states[chosen ^ ROW_TWIN], unit(raw))
        logits = run(session, taught.waiting.pick(chosen.tolist()), [hook])
        return torch.nn.functional.cross_entropy(logits, wanted[chosen].to(logits.device))

    how = Optimiser(rate, Schedule(steps, 0.1 * steps))
    with frozen(session.model):
        losses = fit({"direction": raw}, loss, how, progress, f"direction at block {layer}", rng)
    return LearntDirection(unit(raw.detach()), losses)


def difference_of_means(taught: CounterfactualPairs, layer: int) -> Tensor:
    """The unit vector from the mean state under the prior's intent to that under the context's."""
    states = taught.at(layer)
    return unit(states[1::2].mean(0) - states[0::2].mean(0))


def _interchange(layer: int, source: Tensor, u: Tensor) -> Hook:
    def see(whole: Tensor) -> Tensor:
        new = interchange(whole[:, -1].float(), source.to(whole.device), u.to(whole.device))
        return torch.cat([whole[:, :-1], new[:, None].to(whole.dtype)], dim=1)

    return Hook(Site("resid_post", layer), see)
