"""When an answer is right, and what is counted over pairs of answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, assert_never

import numpy as np

Matching = Literal["strict", "prefix"]


def prefix(said: str, gold: str) -> bool:
    """The published rule: what was said, stripped, begins with the answer, in the same case."""
    return said.strip().startswith(gold)


def strict(said: str, gold: str) -> bool:
    """The answer, and then the end, a new line, or a punctuation mark before a space or the end; the same case.

    So "1" is not taken from "12" or "1,000", nor "Mexico" from "Mexico City" or "Mexican".
    """
    rest = said.strip()
    return rest.startswith(gold) and re.match(r"$|\n|[.,;:!?](\s|$)", rest[len(gold) :]) is not None


def decided(said: str, gold: str) -> bool:
    """Whether `strict` says the same of every text that begins with what was said.

    The end of a text may be half a sign or a space that is not there in the end, so it decides nothing.
    """
    rest = said.strip().rstrip("\ufffd").rstrip()
    if not rest.startswith(gold):
        return not gold.startswith(rest)
    after = rest[len(gold) :]
    return bool(re.match(r"\n|[^.,;:!?]|[.,;:!?]\s*\S", after))


NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def arithmetic(said: str, gold: str) -> bool:
    """The published rule for numbers: words become digits, also within words; then the answer may begin or end what was
    said, or stand alone between equals signs and line ends.
    """
    text = said.strip().lower()
    for digit, word in enumerate(NUMBERS):
        text = text.replace(word, str(digit))
    pieces = [piece.strip().strip(",.;/") for piece in re.split(r"[=\n]", text)]
    return text.startswith(gold) or text.endswith(gold) or gold in pieces


def published(task: str) -> Callable[[str, str], bool]:
    """The published rule for answers of a task."""
    return arithmetic if task == "arithmetic" else prefix


def rule(matching: Matching, task: str) -> Callable[[str, str], bool]:
    """When an answer of a task is right; what is chosen by and what is reported are judged by the same rule."""
    if matching == "strict":
        return strict
    if matching == "prefix":
        return published(task)
    assert_never(matching)


def pair_accuracy(right: np.ndarray) -> np.ndarray:
    """Whether both of a pair's answers are right: bool `[…, intent, pair]` to `[…, pair]`."""
    return np.asarray(right.all(axis=-2))


def memorisation_ratio(prior: np.ndarray, context: np.ndarray) -> float:
    """Prior answers among the answers that are one of the two, NaN where none is; bool `[answer]` each."""
    count = int(prior.sum()) + int(context.sum())
    return float(prior.sum()) / count if count else float("nan")
