"""Questions whose context gives another answer than the model does by itself, and the same with its own answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.texts.data_files import read_file
from workbench.texts.facts import BUILT_IN, Split, make_item, read_facts, split_of

from ..metrics.answers import exact_match, first_line, normalised

WORDS = 8
"""Words that an answer from the prior may have, to be put into a context."""


@dataclass(frozen=True)
class Conflict:
    """A question with its context and without it; the context gives `gold`."""

    name: str
    told: str
    bare: str
    gold: str


@dataclass(frozen=True)
class Conflicts:
    """Conflicts from one source."""

    source: str
    sha256: str
    items: Sequence[Conflict]

    def of(self, split: Split) -> list[Conflict]:
        """The items of a split, which depends on the question alone."""
        return [item for item in self.items if split_of(item.name) == split]


def read_conflicts(source: str) -> Conflicts:
    """The project's own facts by their name, or JSON lines in the format of context-aware decoding.

    A line there has `input_index`, `assigned_process` (0 with the context, 1 without), `context_string`, and
    `gold_answers`. Raises `UsageError` for a file that is not so.
    """
    if source == BUILT_IN:
        facts, rng = read_facts(BUILT_IN), np.random.default_rng(0)
        items = [make_item(fact, "sentence", rng) for fact in facts.facts]
        found = [Conflict(item.subject, f"{item.context}\n{item.query}", item.query, item.other) for item in items]
        return Conflicts(BUILT_IN, facts.sha256, found)
    file = read_file(source, "conflicts", f"JSON lines as of context-aware decoding, or {BUILT_IN!r}")
    told: dict[object, tuple[str, str]] = {}
    bare: dict[object, str] = {}
    for number, row in file.json_lines():
        try:
            index, process = row["input_index"], row["assigned_process"]
            text, gold = row["context_string"], row["gold_answers"]
        except (KeyError, TypeError):
            needed = "a line has input_index, assigned_process, context_string and gold_answers"
            raise file.refuse(needed, f", line {number}") from None
        gold = gold[0] if isinstance(gold, list) and gold else gold
        if not isinstance(text, str) or not text.strip() or not isinstance(gold, str) or not gold.strip():
            raise file.refuse("context_string and gold_answers are texts that are not empty", f", line {number}")
        if process == 0:
            told[index] = (text.rstrip(), gold)
        else:
            bare[index] = text.rstrip()
    pairs = [Conflict(bare[index], told[index][0], bare[index], told[index][1]) for index in told if index in bare]
    if not pairs:
        raise file.refuse("no question is there both with its context and without")
    return Conflicts(file.name, file.sha256, pairs)


def prior_answer(said: str) -> str:
    """The answer in what was said without a context: up to the first punctuation or line break."""
    return re.split(r"[.,;:!?]( |$)|\n", first_line(said))[0].strip()


def agreeing(item: Conflict, prior: str) -> Conflict | None:
    """The item with a context that gives the prior's answer where it gave its own; None where it cannot be made."""
    if not normalised(prior) or len(prior.split()) > WORDS or item.gold not in item.told:
        return None
    return Conflict(item.name, item.told.replace(item.gold, prior), item.bare, prior)


def conflicting(item: Conflict, prior: str) -> bool:
    """Whether the model answers otherwise without the context."""
    return not exact_match(prior, [item.gold])
