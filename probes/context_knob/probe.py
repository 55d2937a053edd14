"""What decides between context and prior: the intent task, the direction that steers it, and both arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from workbench.errors import UsageError
from workbench.probe import Outcome, Paper, Probe, RunContext, Work

from .config import PRESETS, ContextKnobConfig
from .sweep import blocks

if TYPE_CHECKING:
    import xarray as xr

    from workbench.figures.figure import Figure
    from workbench.record import Record
    from workbench.session import Session

LENGTH = 60
"""Tokens of a prompt with a one-sentence context, about."""


class ContextKnob(Probe[ContextKnobConfig]):
    """Pair accuracy under an intent, and steering by one direction, with and without the adapter."""

    name = "context-knob"
    question = "Does the model answer from its context or its prior, and which single direction decides?"
    method = (
        "pairs of prompts under both intents; rank-1 interchange at the last token; steering by setting the value of "
        "one direction while answers are generated, against random directions, difference of means and shuffled labels"
    )
    papers: ClassVar[Sequence[Paper]] = (
        Paper("Controllable Context Sensitivity and the Knob Behind It", "2411.07404"),
    )
    Config = ContextKnobConfig
    presets = PRESETS

    def unsuitable(self, session: Session) -> str | None:
        if "resid_post" not in session.hooked.kinds:
            return "the residual stream after its blocks cannot be read here"
        if session.tokenizer is None:
            return "it has no tokenizer, and the task is made of text"
        return None

    def work(self, session: Session, config: ContextKnobConfig) -> Sequence[Work]:
        swept = len(self._blocks(session, config))
        items = config.n + config.n_train + config.n_validation
        settings = 2 * (3 + config.random)
        long = LENGTH if config.contexts == "sentence" else 4 * LENGTH
        return [
            Work(2 * items, 16, LENGTH // 2, generated=8, logits=1),
            Work(2 * config.n_train, 16, long, logits=1),
            Work(2 * 2 * swept * config.steps * config.batch, config.batch, 1, logits=1, backward=True),
            Work(2 * config.n_validation, 16, long, logits=1),
            Work(2 * 2 * config.n_validation * len(config.stretches) * (swept + 1), 16, 1, generated=4, logits=1),
            Work(2 * 3 * config.n, 16, long, generated=4, logits=1),
            Work(2 * config.n * settings, 16, 1, generated=4, logits=1),
        ]

    def run(self, session: Session, config: ContextKnobConfig, context: RunContext) -> Outcome:
        from .stages import run

        self._blocks(session, config)
        return run(session, config, context)

    def figures(self, data: xr.DataTree, record: Record) -> Sequence[Figure]:
        from .figures import draw

        return draw(data)

    def summary(self, data: xr.DataTree, record: Record) -> Sequence[str]:
        from .summary import sentences

        return sentences(data, record)

    def _blocks(self, session: Session, config: ContextKnobConfig) -> list[int]:
        beyond = [layer for layer in config.layers or () if layer >= session.shape.layers]
        if beyond:
            raise UsageError(f"layer {beyond[0]} is not in this model; its blocks are 0 to {session.shape.layers - 1}")
        return blocks(config, session.shape.layers)
