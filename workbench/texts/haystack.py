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
from . import word_lists

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
    lists = [value for name, value in vars(word_lists).items() if name.isupper()]
    digest = hashlib.sha256(repr(sorted(chain.from_iterable(lists))).encode()).hexdigest()
    return Haystack(SYNTHETIC, digest, lambda rng: (_sentence(rng) for _ in count()))


def read_haystack(source: str | Path) -> Haystack:
    """The synthetic haystack by its name, or any text file split into sentences.

    Raises `UsageError` if the file cannot be read as text or holds no sentence.
    """
    if str(source) == SYNTHETIC:
        return synthetic_haystack()
    path = Path(source)
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"haystack {str(source)!r}: {reason}; give a text file or {SYNTHETIC!r}") from None
    except UnicodeDecodeError:
        raise UsageError(f"haystack {str(source)!r} is not UTF-8 text; give a text file or {SYNTHETIC!r}") from None
    sentences = split_sentences(text)
    if not sentences:
        raise UsageError(f"haystack {str(source)!r} holds no sentence; give a text file or {SYNTHETIC!r}")

    def around(rng: np.random.Generator) -> Iterator[str]:
        start = int(rng.integers(len(sentences)))
        return iter(sentences[start:] + sentences[:start])

    return Haystack(path.name, hashlib.sha256(raw).hexdigest(), around)


def split_sentences(text: str) -> list[str]:
    """Cut running text after `.`, `!` or `?` that a space follows; white space inside a sentence becomes one blank."""
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

    person = f"{one(word_lists.QUALITIES)} {one(word_lists.PEOPLE)}"
    form = int(rng.integers(5))
    if form == 0:
        return f"The {person} {one(word_lists.ACTS)} {one(word_lists.MANNERS)} to the {one(word_lists.PLACES)} {one(word_lists.TIMES)}."
    if form == 1:
        return f"The {person} {one(word_lists.HANDLED)} a {one(word_lists.LOOKS)} {one(word_lists.THINGS)} near the {one(word_lists.PLACES)}."
    if form == 2:
        thing = f"{one(word_lists.LOOKS)} {one(word_lists.THINGS)}"
        return f"A {thing} was in the {one(word_lists.PLACES)}, and the {person} {one(word_lists.HANDLED)} it {one(word_lists.TIMES)}."
    if form == 3:
        return f"There was {one(word_lists.STATES)} {one(word_lists.WEATHER)} over the {one(word_lists.PLACES)} {one(word_lists.TIMES)}."
    return f"Nobody {one(word_lists.HANDLED)} the {one(word_lists.THINGS)}, but the {person} {one(word_lists.ACTS)} {one(word_lists.MANNERS)}."
