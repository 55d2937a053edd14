"""Haystacks: long plain text in which a needle can be hidden."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np

from ..errors import UsageError
from . import word_lists as lists
from .data_files import read_file

SYNTHETIC = "synthetic"
"""The name of the haystack that the project generates."""


@dataclass(frozen=True)
class Haystack:
    """A source of sentences: `sentences(rng)` starts somewhere that `rng` decides and yields them in order."""

    name: str
    sha256: str
    sentences: Callable[[np.random.Generator], Iterator[str]]


def synthetic_haystack() -> Haystack:
    """Sentences from a small grammar: plain English, endless, and free of every word that a needle is made of."""
    every = [value for name, value in vars(lists).items() if name.isupper()]
    digest = hashlib.sha256(repr(sorted(chain.from_iterable(every))).encode()).hexdigest()
    return Haystack(SYNTHETIC, digest, lambda rng: (_sentence(rng) for _ in count()))


def read_haystack(source: str | Path) -> Haystack:
    """The synthetic haystack by its name, or any text file split into sentences.

    Raises `UsageError` if the file cannot be read as text or holds no sentence.
    """
    if str(source) == SYNTHETIC:
        return synthetic_haystack()
    file = read_file(source, "haystack", f"a text file, or {SYNTHETIC!r}")
    sentences = split_sentences(file.text)
    if not sentences:
        raise file.refuse("it holds no sentence")

    def around(rng: np.random.Generator) -> Iterator[str]:
        start = int(rng.integers(len(sentences)))
        return iter(sentences[start:] + sentences[:start])

    return Haystack(file.name, file.sha256, around)


def split_sentences(text: str) -> list[str]:
    """Cut running text after `.`, `!` or `?` that a space follows; white space inside a sentence becomes one blank.

    >>> split_sentences("It rained. Nobody came!  Why?")
    ['It rained.', 'Nobody came!', 'Why?']
    """
    return [" ".join(piece.split()) for piece in re.split(r"(?<=[.!?])[\"'”’)]*\s+", text) if piece.strip()]


def fill(haystack: Haystack, tokens: int, length_of: Callable[[str], int], rng: np.random.Generator) -> Sequence[str]:
    """As many sentences of a haystack as fit into `tokens`, counted by `length_of` one sentence at a time.

    Raises `UsageError` if the haystack ends before that.
    """
    taken: list[str] = []
    used = 0
    for sentence in haystack.sentences(rng):
        used += length_of(sentence if not taken else " " + sentence)
        if used > tokens:
            return taken
        taken.append(sentence)
    raise UsageError(
        f"haystack {haystack.name!r} has {used} tokens and {tokens} are needed; give a longer text or a smaller length"
    )


def _sentence(rng: np.random.Generator) -> str:
    def one(choices: Sequence[str]) -> str:
        return choices[int(rng.integers(len(choices)))]

    person = f"{one(lists.QUALITIES)} {one(lists.PEOPLE)}"
    form = int(rng.integers(5))
    if form == 0:
        return f"The {person} {one(lists.ACTS)} {one(lists.MANNERS)} to the {one(lists.PLACES)} {one(lists.TIMES)}."
    if form == 1:
        return (
            f"The {person} {one(lists.HANDLED)} a {one(lists.LOOKS)} {one(lists.THINGS)} near the {one(lists.PLACES)}."
        )
    if form == 2:
        thing = f"{one(lists.LOOKS)} {one(lists.THINGS)}"
        return f"A {thing} was in the {one(lists.PLACES)}, and the {person} {one(lists.HANDLED)} it {one(lists.TIMES)}."
    if form == 3:
        return f"There was {one(lists.STATES)} {one(lists.WEATHER)} over the {one(lists.PLACES)} {one(lists.TIMES)}."
    return (
        f"Nobody {one(lists.HANDLED)} the {one(lists.THINGS)}, but the {person} {one(lists.ACTS)} {one(lists.MANNERS)}."
    )
