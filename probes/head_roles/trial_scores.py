"""What one trial tells about every head: where it points while the answer is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.texts.placement import Trial

from .config import Rule
from .scores import RULES, chance_score, retrieval_score, rouge_recall

if TYPE_CHECKING:
    from workbench.internals.edits import Edit
    from workbench.internals.session import Session
    from workbench.progress import Reporter


@dataclass(frozen=True)
class Measured:
    """One trial: scores `[layer, head]` by rule, and whether the answer was given."""

    scores: dict[Rule, np.ndarray]
    chance: np.ndarray
    mass: np.ndarray
    """Mean attention on the token of the needle that comes next, `[layer, head]`."""
    correct: float
    """1 if every token of the answer is the model's first choice after the ones before it."""
    share: float
    """Share of the answer's tokens that are."""
    said: float
    """ROUGE-1 recall of the answer in what the model said."""


def teacher_forced(session: Session, trial: Trial, rule: Rule) -> Measured:
    """Read the rows that predict the true answer, in one pass over prompt and answer."""
    start, end = trial.answer
    return _measured(session, trial, trial.ids[start:end], rule)


def generated(session: Session, trial: Trial, forced: Measured, rule: Rule) -> Measured | None:
    """Read the rows of the model's own greedy answer, as many tokens as the true answer has or up to a line break.

    Where the true answer is the first choice at every token, it is the greedy answer, and `forced` is returned. Rows of
    decoding are read in one pass over prompt and answer, which computes the same. None if nothing was said.
    """
    if forced.correct == 1:
        return forced
    start, end = trial.answer
    made = session.generate(list(trial.prompt), max_new_tokens=end - start).rows()[0]
    texts = [session.tokenizer.decode([token]) for token in made]
    kept = made[: next((index for index, text in enumerate(texts) if "\n" in text), len(made))]
    return _measured(session, trial, kept, rule) if kept else None


def answers(
    session: Session, trial: Trial, edits: Sequence[Sequence[Edit]] = ((),), progress: Reporter | None = None
) -> list[tuple[float, float]]:
    """Whether all tokens of the answer are the first choice (1 or 0), and the share that are, under each of `edits`."""
    start, end = trial.answer
    named = {str(place): each for place, each in enumerate(edits)}
    found = session.logits_under(list(trial.ids), named, range(start - 1, end - 1), progress=progress)
    return [_agreement(found[name][0].argmax(-1).numpy(), trial.ids[start:end]) for name in named]


def _measured(session: Session, trial: Trial, emitted: Sequence[int], rule: Rule) -> Measured:
    import torch

    start, end = trial.answer
    ids = [*trial.prompt, *emitted]
    queries = range(start - 1, start - 1 + len(emitted))
    steps = np.arange(min(len(emitted), end - start))
    coming = torch.zeros(1, len(ids), dtype=torch.int64)
    coming[0, start - 1 + steps] = torch.from_numpy(trial.value[0] + steps)
    seen = session.attention_statistics(ids, stats=(), weights_at=coming, topk=1, rows=queries, logits_at=queries)
    assert seen.logits is not None
    found = [each.present() for each in seen.values()]
    pointed = np.stack([each["topk_index"][0, :, :, 0].numpy() for each in found])
    mass = np.stack([each["weights_at"][0, :, 0, start - 1 + steps].mean(-1).numpy() for each in found])
    scores = {
        each: retrieval_score(pointed, ids, emitted, trial.needle, trial.value, each).astype(np.float64)
        for each in RULES
    }
    true = trial.ids[start:end]
    correct, share = _agreement(seen.logits[0].argmax(-1).numpy(), true) if len(emitted) == len(true) else (0.0, 0.0)
    return Measured(
        scores=scores,
        chance=chance_score(pointed, ids, emitted, trial.needle, trial.value, rule),
        mass=mass,
        correct=correct,
        share=share,
        said=rouge_recall(session.tokenizer.decode(list(true)), session.tokenizer.decode(list(emitted))),
    )


def _agreement(chosen: np.ndarray, true: Sequence[int]) -> tuple[float, float]:
    right = chosen == np.asarray(true)
    return float(right.all()), float(right.mean())
