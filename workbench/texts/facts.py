"""Facts: what a model may know by heart, from the project's own table or from a file in Fakepedia's format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from ..errors import UsageError
from .data_files import DataFile, read_file
from .hub import PREFIX, hub_file

BUILT_IN = "facts"
"""The name of the project's own table."""
Split = Literal["train", "validation", "test"]
Contexts = Literal["sentence", "paragraph"]
Task = Literal["base", "multihop", "arithmetic"]
SHARES: Mapping[Split, float] = {"train": 0.3, "validation": 0.15, "test": 0.55}


@dataclass(frozen=True)
class Fact:
    """A query that is to be completed, with its true answer.

    `others` are answers that a counterfactual context may give; `paragraph` is such a context, made for `others[0]`.
    `stated` is one with `{other}` where it names the other answer; empty for the query with that answer.
    """

    relation: str
    subject: str
    query: str
    answer: str
    others: tuple[str, ...]
    paragraph: str | None = None
    stated: str = ""
    task: Task = "base"


@dataclass(frozen=True)
class Facts:
    """Facts from one source."""

    name: str
    sha256: str
    facts: Sequence[Fact]


@dataclass(frozen=True)
class Item:
    """A query with the answer from the prior, and a context that gives another one."""

    subject: str
    relation: str
    context: str
    query: str
    prior: str
    other: str
    """The context's answer."""
    task: Task = "base"

    def answer(self, from_context: bool) -> str:
        """What is right under an intent."""
        return self.other if from_context else self.prior


def read_facts(source: str) -> Facts:
    """The project's own facts by their name, or a JSON file in Fakepedia's format, here or in a data set of the Hub.

    Raises `UsageError` for a file that cannot be used, and `WorkbenchError` for one that the Hub does not give.
    """
    if source == BUILT_IN:
        raw = (files("workbench.data") / "facts" / "facts.json").read_bytes()
        return Facts(BUILT_IN, hashlib.sha256(raw).hexdigest(), _own(json.loads(raw)))
    hub = source.startswith(PREFIX)
    instead = f"a JSON file in Fakepedia's format, {PREFIX}owner/name/file.json, or {BUILT_IN!r}"
    file = read_file(source, "data", instead, hub_file(source) if hub else None)
    return Facts(source.removeprefix(PREFIX) if hub else file.name, file.sha256, _fakepedia(file))


def split_of(subject: str) -> Split:
    """The split that a subject belongs to, in every source and whatever the seed.

    What was trained on the train split of one source is thereby unseen on the test split of every other.
    """
    name = subject.lower().removeprefix("the ").strip()
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if place < SHARES["train"]:
        return "train"
    return "validation" if place < SHARES["train"] + SHARES["validation"] else "test"


def make_item(fact: Fact, contexts: Contexts, rng: np.random.Generator) -> Item:
    """An item whose context states another answer: as the fact has it, in one sentence, or in the fact's paragraph."""
    if contexts == "paragraph" and not fact.stated:
        if fact.paragraph is None:
            raise UsageError("these facts come without paragraphs; set contexts=sentence, or data to a Fakepedia file")
        return Item(fact.subject, fact.relation, fact.paragraph, fact.query, fact.answer, fact.others[0], fact.task)
    other = fact.others[int(rng.integers(len(fact.others)))]
    context = fact.stated.replace("{other}", other) if fact.stated else f"{fact.query} {other}."
    return Item(fact.subject, fact.relation, context, fact.query, fact.answer, other, fact.task)


def _own(table: Mapping[str, Any]) -> list[Fact]:
    found = []
    for relation, part in table.items():
        answers = list(dict.fromkeys(part["facts"].values()))
        for subject, answer in part["facts"].items():
            others = tuple(other for other in answers if differ(other, answer))
            found.append(Fact(relation, subject, part["query"].format(subject=subject), answer, others))
    return found


def differ(one: str, other: str) -> bool:
    """Whether no answer can be taken for the beginning of the other."""
    one, other = one.lower(), other.lower()
    return not one.startswith(other) and not other.startswith(one)


def _fakepedia(file: DataFile) -> list[Fact]:
    rows = file.json()
    if not isinstance(rows, list) or not rows:
        raise file.refuse("it is no list of facts")
    found = []
    steps: Task
    for number, row in enumerate(rows):
        try:
            relation, subject, query = row["rel_p_id"], row["subject"], row["query"]
            other, answer, paragraph = row["object"], row["fact_parent"]["object"], row.get("fact_paragraph")
        except (KeyError, TypeError, AttributeError):
            needed = "a fact has subject, rel_p_id, query, object and fact_parent.object"
            raise file.refuse(needed, f", entry {number}") from None
        texts = (relation, subject, query, other, answer)
        if not all(isinstance(text, str) and text for text in texts) or not isinstance(paragraph, str | None):
            raise file.refuse("the parts of a fact are texts that are not empty", f", entry {number}")
        if differ(other, answer):
            steps = "multihop" if paragraph is not None and row.get("intermediate_paragraph") else "base"
            found.append(Fact(relation, subject, query, answer, (other,), paragraph, task=steps))
    return found
