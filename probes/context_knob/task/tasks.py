"""The three tasks: facts that one context contradicts, facts that take two steps through it, and arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from workbench.errors import UsageError
from workbench.texts.facts import BUILT_IN, Contexts, Fact, Facts, Task, split_of

from .arithmetic import arithmetic_facts

EXPRESSIONS = 1050
"""Arithmetic expressions that are drawn from; the published set has as many."""
PARAGRAPH = (
    "Few things are asked as often as this one. {query} {{other}}. It was written down long ago, and every book that "
    "takes the matter up has said the same since. Schools teach it in the first year, and whoever looks it up finds "
    "{{other}} at once. Those who know the matter well give no other answer than {{other}}."
)
"""A paragraph around the sentence; it fits every relation of the table."""
TWO_STEPS = "{query} {{other}}. For {subject} the answer is the same as for {through}."


def facts_of(facts: Facts, task: Task, contexts: Contexts, rng: np.random.Generator) -> list[Fact]:
    """The facts with the contexts that a task asks for.

    Paragraphs and two-step contexts of the project's own table are written around the sentence; those of a file are its
    own. Raises `UsageError` where a file has none of what is asked for.
    """
    if task == "arithmetic":
        return arithmetic_facts(EXPRESSIONS, rng)
    if facts.name != BUILT_IN:
        return _of_file(facts, task, contexts)
    if task == "multihop":
        return _two_steps(facts.facts, rng)
    if contexts == "sentence":
        return list(facts.facts)
    return [replace(fact, stated=PARAGRAPH.format(query=fact.query)) for fact in facts.facts]


def _of_file(facts: Facts, task: Task, contexts: Contexts) -> list[Fact]:
    if task == "base" and contexts == "sentence":
        return list(facts.facts)
    fitting = [fact for fact in facts.facts if fact.paragraph is not None and fact.task == task]
    if not fitting:
        held = sorted({fact.task for fact in facts.facts if fact.paragraph is not None})
        raise UsageError(
            f"data {facts.name!r} has no paragraphs for task={task}"
            + (f"; it has some for: {', '.join(held)}" if held else "; set task=base and contexts=sentence")
        )
    return fitting


def _two_steps(facts: Sequence[Fact], rng: np.random.Generator) -> list[Fact]:
    """The context states an answer for another subject of the relation and split, and that the two share it."""
    groups: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact.relation, split_of(fact.subject)].append(fact)
    found = []
    for fact in facts:
        near = [each for each in groups[fact.relation, split_of(fact.subject)] if each.subject != fact.subject]
        if not near:
            continue
        through = near[int(rng.integers(len(near)))]
        others = tuple(other for other in fact.others if other != through.answer)
        stated = TWO_STEPS.format(query=through.query, subject=fact.subject, through=through.subject)
        if others:
            found.append(replace(fact, others=others, stated=stated, task="multihop"))
    return found
