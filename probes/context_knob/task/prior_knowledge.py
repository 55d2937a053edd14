"""Which facts a model knows: those it answers without any context, in whichever form it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from workbench.internals.prefix_cache import answer_all
from workbench.texts.facts import Fact

from .matching import decided, strict
from .prompting import Prompter

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.progress import Reporter


def known_items(session: Session, facts: Sequence[Fact], progress: Reporter, begun: bool = True) -> list[bool]:
    """Whether each fact's answer is what the bare query is answered, and how the query goes on as text; strictly.

    A fact that comes in one form of asking and not in the other is known too weakly to be a prior of the model.
    """
    prompter = Prompter(session, begun)
    right = np.ones(len(facts), dtype=bool)
    for form in (prompter.bare, prompter.alone):
        asked = np.flatnonzero(right).tolist()
        prompts = [form(facts[at].query, facts[at].answer) for at in asked]
        golds = [facts[at].answer for at in asked]
        enough = partial(_decided, golds)
        said = answer_all(session, prompts, progress, "what the model knows", enough=enough)
        right[asked] = [strict(text, gold) for text, gold in zip(said, golds, strict=True)]
    return right.tolist()


def _decided(golds: Sequence[str], row: int, said: str) -> bool:
    """Whether no more of an answer can change its verdict."""
    return decided(said, golds[row])
