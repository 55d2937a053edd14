"""Which facts a model knows: those it answers without any context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .asking import answer_all
from .facts import Fact
from .prompts import Prompter
from .scores import strict

if TYPE_CHECKING:
    from workbench.progress import Reporter
    from workbench.session import Session


def known(session: Session, facts: Sequence[Fact], progress: Reporter, begun: bool = True) -> list[bool]:
    """Whether each fact's answer is what the bare query is answered, strictly."""
    prompter = Prompter(session, begun)
    said = answer_all(session, [prompter.bare(fact.query) for fact in facts], progress, "what the model knows")
    return [strict(text, fact.answer) for text, fact in zip(said, facts, strict=True)]
