"""Scores of heads from rows of attention.

Retrieval score: Wu et al. 2024 (arXiv 2404.15574), section 2; induction, previous-token and duplicate-token scores on
repeated random tokens: Olsson et al. 2022 (arXiv 2209.11895), as they are commonly measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np

from .config import Rule

if TYPE_CHECKING:
    from workbench.texts.placement import Span

RULES: tuple[Rule, ...] = get_args(Rule)


def retrieval_score(
    pointed: np.ndarray, ids: Sequence[int], emitted: Sequence[int], needle: Span, value: Span, rule: Rule
) -> np.ndarray:
    """The retrieval score of every head in one trial, `[layer, head]`.

    `pointed [layer, head, step]` is the key that gets most attention from the query that predicts each step's token,
    and `emitted [step]` those tokens. A head copies at a step if it points into a span, at the token that is emitted.

    - `answer`: share of the answer's tokens inside the needle that the head copied at least once.
    - `paper`: share of the needle's distinct tokens that the head copied, |g ∩ k| / |k|; when the answer is only a part
      of the needle, that part bounds it.
    - `released`: copying steps over the needle's tokens, a repeated token counted every time, as in the published code.
    """
    assert rule in RULES, rule
    tokens = np.asarray(ids)
    start, end = value if rule == "answer" else needle
    copied = (pointed >= start) & (pointed < end) & (tokens[pointed] == np.asarray(emitted))
    if rule == "released":
        return copied.sum(-1) / (end - start)
    # a head's credit is a set: positions of the answer, or distinct tokens of the needle
    marks = np.arange(len(tokens)) if rule == "answer" else tokens
    wanted = np.unique(marks[start:end])
    got = (marks[pointed][..., None] == wanted) & copied[..., None]
    return got.any(-2).sum(-1) / len(wanted)


def chance_score(
    pointed: np.ndarray, ids: Sequence[int], emitted: Sequence[int], needle: Span, value: Span, rule: Rule
) -> np.ndarray:
    """The same score with the answer's tokens in a wrong order, averaged over all cyclic shifts, `[layer, head]`.

    It is what looking at the needle without picking the right token gives. NaN for answers of one token.
    """
    shifts = [
        retrieval_score(pointed, ids, np.roll(emitted, shift).tolist(), needle, value, rule)
        for shift in range(1, len(emitted))
    ]
    return np.mean(shifts, axis=0) if shifts else np.full(pointed.shape[:2], np.nan)


def repeat_targets(half: int) -> dict[str, np.ndarray]:
    """Where the queries of the second half look, `[query]`, on `half` random tokens that are repeated once.

    `induction`: the token after the earlier occurrence; `previous_token`: the token before the query;
    `duplicate_token`: the earlier occurrence. A score is the mean attention there.
    """
    query = np.arange(half)
    return {"induction": query + 1, "previous_token": half + query - 1, "duplicate_token": query}


def rouge_recall(answer: str, said: str) -> float:
    """ROUGE-1 recall: the share of the answer's words that were said, repeated words counted as often as they occur."""
    left = said.lower().split()
    words = answer.lower().split()
    found = 0
    for word in words:
        if word in left:
            left.remove(word)
            found += 1
    return found / len(words)
