"""Whether a short answer is the one that was asked for: exact match and F1, as SQuAD counts them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_SIGNS = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and blanks that mean nothing (Rajpurkar et al. 2016)."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_SIGNS)).split())


def first_line(said: str) -> str:
    """What was said up to the first line break."""
    return said.strip().partition("\n")[0].strip()


def exact_match(said: str, gold: Sequence[str]) -> float:
    """1 if the first line is one of the answers, after normalising both."""
    return float(normalised(first_line(said)) in {normalised(answer) for answer in gold})


def f1(said: str, gold: Sequence[str]) -> float:
    """The best F1 of the words of the first line and of an answer."""
    return max(_overlap(normalised(first_line(said)).split(), normalised(answer).split()) for answer in gold)


def _overlap(said: Sequence[str], gold: Sequence[str]) -> float:
    if not said or not gold:
        return float(said == gold)
    common = sum((Counter(said) & Counter(gold)).values())
    return 2 * common / (len(said) + len(gold))
