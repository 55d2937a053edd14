"""Needles: a fact that only one sentence of a long text states, the question for it, and the words that answer."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from . import word_lists
from .data_files import DataFile, read_file

BUILT_IN = "needles"
"""The name of the needles that the project generates."""


@dataclass(frozen=True)
class Needle:
    """A sentence to hide, a question, how the answer begins, and the answer itself, which stands in the sentence."""

    key: str
    sentence: str
    question: str
    prefix: str
    answer: str

    def __post_init__(self) -> None:
        if self.sentence.count(self.answer) != 1 or not self.answer:
            raise UsageError(f"the answer {self.answer!r} must stand exactly once in the needle {self.sentence!r}")


def make_needles(n: int, rng: np.random.Generator, words_in_answer: int = 4) -> tuple[list[Needle], list[Needle]]:
    """Two lists of `n` needles each that share no place and no word of an answer: one to select on, one to score on.

    Within a list, no two needles have the same key or the same answer. Raises `UsageError` for more than there are.

    >>> import numpy as np
    >>> selection, held_out = make_needles(2, np.random.default_rng(0))
    >>> selection[0].answer in selection[0].sentence, held_out[0].answer in selection[0].sentence
    (True, False)
    """
    places = rng.permutation(word_lists.KEY_PLACES).tolist()
    values = rng.permutation(word_lists.VALUES).tolist()
    halves = [(places[0::2], values[0::2]), (places[1::2], values[1::2])]
    keys = len(word_lists.KEY_QUALITIES) * len(halves[1][0]) * len(word_lists.SECRETS)
    available = min(keys, math.perm(len(halves[1][1]), words_in_answer))
    if n > available:
        raise UsageError(f"{n} needles were asked for and there are {available} of one kind; ask for fewer")
    first, second = (_generate(n, own_places, own_values, rng, words_in_answer) for own_places, own_values in halves)
    return first, second


def read_needles(path: str | Path, rng: np.random.Generator) -> tuple[list[Needle], list[Needle]]:
    """Needles from a file of JSON lines, split in two halves that share no key and no answer.

    Every line has `sentence`, `question`, `answer`, and may have `prefix` (how the answer begins) and `key` (what the
    question is about; the question itself if left out). Raises `UsageError` for a line that cannot be used.
    """
    file = read_file(path, "data", f"a file of JSON lines, or {BUILT_IN!r}")
    groups: dict[str, list[Needle]] = {}
    owner: dict[str, str] = {}
    for number, given in file.json_lines():
        needle = _needle(given, file, number)
        # needles that share a key or an answer go to the same half
        key = owner.get(needle.key) or owner.get(needle.answer) or needle.key
        owner[needle.key] = owner[needle.answer] = key
        groups.setdefault(key, []).append(needle)
    if len(groups) < 2:
        raise file.refuse("it needs at least two needles with different keys and answers")
    keys = rng.permutation(sorted(groups))
    first, second = ([needle for key in keys[half::2] for needle in groups[key]] for half in (0, 1))
    return first, second


def digest(needles: Sequence[Needle]) -> str:
    """sha256 over needles, for a run's record."""
    text = json.dumps([asdict(needle) for needle in needles], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _generate(
    n: int, places: Sequence[str], values: Sequence[str], rng: np.random.Generator, words_in_answer: int
) -> list[Needle]:
    made: list[Needle] = []
    seen: set[str] = set()
    while len(made) < n:
        key = f"{rng.choice(word_lists.KEY_QUALITIES)} {rng.choice(places)}"
        subject = f"{rng.choice(word_lists.SECRETS)} of the {key}"
        answer = " ".join(rng.choice(values, words_in_answer, replace=False))
        if subject in seen or answer in seen:
            continue
        seen |= {subject, answer}
        made.append(
            Needle(
                key=subject,
                sentence=f"The {subject} is {answer}.",
                question=f"What is the {subject}?",
                prefix=f"The {subject} is",
                answer=answer,
            )
        )
    return made


def _needle(given: Any, file: DataFile, number: int) -> Needle:
    try:
        fields = {name: given[name] for name in ("sentence", "question", "answer")}
        fields |= {"prefix": given.get("prefix", ""), "key": given.get("key", given["question"])}
    except (KeyError, TypeError, AttributeError):
        raise file.refuse("a needle is an object with sentence, question and answer", f", line {number}") from None
    if not all(isinstance(value, str) for value in fields.values()):
        raise file.refuse("sentence, question, answer, prefix and key are texts", f", line {number}")
    return Needle(**fields)
