"""Which facts are asked about: those of a split that the model knows, subject by subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.texts.facts import Contexts, Fact, Item, Split, make_item, split_of

from .prior_knowledge import known_items
from .prompting import Prompter

if TYPE_CHECKING:
    import numpy as np

    from workbench.internals.session import Session
    from workbench.progress import Reporter

AT_ONCE, FOR_EACH = 48, 4
"""Facts that are asked about before it is seen whether there are enough: at most, and for each item that is wanted."""


@dataclass(frozen=True)
class SampledItems:
    """Items of one split, how many facts were asked about and how many of them the model did not know."""

    items: list[Item]
    asked: int
    unknown: int


def sample_items(
    session: Session,
    facts: Sequence[Fact],
    split: Split,
    n: int,
    contexts: Contexts,
    by_relation: bool,
    begun: bool,
    rng: np.random.Generator,
    progress: Reporter,
) -> SampledItems:
    """Up to `n` items of a split on facts that the model knows; another fact of a subject comes after all subjects.

    The session's model must be without an adapter: what is asked is what it knew before.
    """
    prompter = Prompter(session, begun)
    items: list[Item] = []
    asked = unknown = 0
    order = _by_subject(facts, split, by_relation, rng)
    at_once = min(AT_ONCE, FOR_EACH * n)
    while order and len(items) < n:
        batch, order = order[:at_once], order[at_once:]
        usable = [fact for fact in (_writable(fact, prompter) for fact in batch) if fact is not None]
        asked += len(batch)
        for fact, yes in zip(usable, known_items(session, usable, progress, begun), strict=True):
            if yes and len(items) < n:
                items.append(make_item(fact, contexts, rng))
            unknown += not yes
        unknown += len(batch) - len(usable)
    return SampledItems(items, asked, unknown)


def _by_subject(facts: Sequence[Fact], split: Split, by_relation: bool, rng: np.random.Generator) -> list[Fact]:
    """The facts of a split in random order, each subject's first one before any subject's second."""
    own = [fact for fact in facts if split_of(fact.relation if by_relation else fact.subject) == split]
    seen: dict[str, int] = {}
    ranked: list[tuple[int, int, Fact]] = []
    for index in rng.permutation(len(own)):
        fact = own[int(index)]
        ranked.append((seen.get(fact.subject, 0), len(ranked), fact))
        seen[fact.subject] = ranked[-1][0] + 1
    return [fact for *_, fact in sorted(ranked, key=lambda each: each[:2])]


def _writable(fact: Fact, prompter: Prompter) -> Fact | None:
    """The fact with the other answers that begin with another token and can be written here; None if there are none."""
    own = prompter.answer(fact.answer)
    if not prompter.writes(own):
        return None
    begin = prompter.blank(fact.answer)
    others = []
    for other in fact.others:
        ids = prompter.answer(other)
        if prompter.writes(ids) and ids[0] != own[0] and prompter.blank(other) == begin:
            others.append(other)
    if not others or (fact.paragraph is not None and fact.others[0] not in others):
        return None
    return replace(fact, others=tuple(others))
