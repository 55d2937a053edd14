"""How much of a text is new against its source, and how much it repeats itself."""

from __future__ import annotations

import re
from collections.abc import Sequence


def words(text: str) -> list[str]:
    """Words of letters and digits in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())


def grams(tokens: Sequence[object], n: int) -> list[tuple[object, ...]]:
    """All runs of n tokens, in their order."""
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def novel(text: str, source: str, n: int = 2) -> float:
    """The share of a text's runs of n words that its source does not have; NaN for a text without any."""
    known, found = set(grams(words(source), n)), grams(words(text), n)
    return sum(gram not in known for gram in found) / len(found) if found else float("nan")


def repetition(tokens: Sequence[object], n: int = 2) -> float:
    """The share of runs of n tokens that came before in the same text; NaN for a text without any."""
    found = grams(tokens, n)
    return 1 - len(set(found)) / len(found) if found else float("nan")
