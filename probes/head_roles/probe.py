"""Which heads retrieve from far away: retrieval scores, induction scores, and needle recall without the top heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from workbench.errors import UsageError
from workbench.probe.contract import Outcome, Paper, Probe, RunContext, Work
from workbench.texts.placement import Trial

from . import stages
from .config import PRESETS, HeadRolesConfig
from .findings import Parts, outcome
from .needles import lengths, load
from .sets import head_sets, passes, sizes

if TYPE_CHECKING:
    from workbench.internals.session import Session


class HeadRoles(Probe[HeadRolesConfig]):
    """Retrieval score on needles, scores on repeated tokens, and what ablation of the top heads does to recall."""

    name = "head-roles"
    question = "Which heads retrieve from far away, and does the model need them to answer?"
    method = (
        "retrieval score on needles, induction scores, needle recall with the top heads ablated against random heads"
    )
    papers: ClassVar[Sequence[Paper]] = (
        Paper("Retrieval Head Mechanistically Explains Long-Context Factuality", "2404.15574"),
        Paper("In-context Learning and Induction Heads", "2209.11895"),
    )
    Config = HeadRolesConfig
    presets = PRESETS

    def unsuitable(self, session: Session) -> str | None:
        if missing := {"pattern", "z"} - set(session.hooked.kinds):
            return f"{' and '.join(sorted(missing))} cannot be read here"
        if not getattr(session.tokenizer, "is_fast", False):
            return "its tokenizer does not tell where in the text each token lies, so a needle cannot be found exactly"
        return None

    def work(self, session: Session, config: HeadRolesConfig) -> Sequence[Work]:
        context = session.shape.context
        longest = max(config.length, config.ablation_length)
        if context is not None and longest > context:
            raise UsageError(
                f"prompts of {longest} tokens are longer than this model's {context}; set length={context}"
            )
        length = int(np.mean(lengths(config)))
        ablated = config.references + config.n * (1 + passes(sizes(session.shape, config), config))
        return [
            Work(config.n_selection, 1, lengths(config)[0]),
            Work(config.n, 1, length),
            # at most: a model that gives the true answer need not generate
            Work(config.n, 1, length, generated=8),
            Work(config.repeats, 1, 2 * config.near),
            Work(config.repeats, 1, 2 * config.far),
            Work(ablated, 1, config.ablation_length),
        ]

    def run(self, session: Session, config: HeadRolesConfig, context: RunContext) -> Outcome:
        needles = load(config, context)

        def trials(split: str, n: int, long: Sequence[int], purpose: str) -> list[Trial]:
            return needles.trials(split, n, long, config.depths, session.tokenizer, context.rng(purpose))

        selecting = trials("selection", config.n_selection, lengths(config)[:1], "selection")
        scoring = trials("held-out", config.n, lengths(config), "scoring")
        answering = trials("held-out", config.n, [config.ablation_length], "answering")

        selection = context.stage(
            "selection", lambda: stages.scores(session, selecting, config.rule, context.progress, "selection needles")
        )
        held_out = context.stage(
            "held-out", lambda: stages.scores(session, scoring, config.rule, context.progress, "held-out needles")
        )
        repeats = context.stage("repeats", lambda: stages.repeats(session, config, context))
        found = sizes(session.shape, config)
        order = stages.order(selection, config)
        chosen = head_sets(order, found, session.shape.layers, session.shape.heads, config, context.rng("random sets"))
        ablation = context.stage(
            "ablation", lambda: stages.ablation(session, answering, chosen, needles.haystack, config, context)
        )
        parts = Parts(selection, held_out, repeats, ablation, order, found.top)
        return outcome(parts, needles, config, context)
