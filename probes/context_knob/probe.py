"""What decides between context and prior: the intent task, the direction that steers it, and both arms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from workbench.errors import UsageError
from workbench.probe.contract import Outcome, Paper, Probe, RunContext, Work

from .config import PRESETS, ContextKnobConfig
from .learning.layer_sweep import blocks

if TYPE_CHECKING:
    from workbench.internals.session import Session

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
        told = 2 * config.n_validation * len(config.stretches)
        long = LENGTH if config.contexts == "sentence" else 4 * LENGTH
        return [
            # fewer than half of the facts are known in both forms of asking
            _rows(2 * items, 24, LENGTH // 2, generated=8),
            Work(1, 2 * config.n_train, long, logits=1),
            Work((swept + 1) * config.steps, config.batch, 1, logits=1, backward=True),
            Work(2, config.n_validation, long, logits=1),
            _rows(told * (swept + 1), 48, 1, generated=4),
            _rows(2 * 2 * config.n, 32, long, generated=4),
            _rows(2 * config.n, 16, long, generated=4),
            _rows(2 * 2 * (3 + config.random) * config.n, 48, 1, generated=4),
            Work(2 * config.curve, config.curve_items, 1, logits=1),
            *(_further(config) if config.configurations else ()),
            *(_searched(session.shape.layers, long, config) if config.search else ()),
        ]

    def run(self, session: Session, config: ContextKnobConfig, context: RunContext) -> Outcome:
        from .stages import run

        self._blocks(session, config)
        return run(session, config, context)

    def _blocks(self, session: Session, config: ContextKnobConfig) -> list[int]:
        beyond = [layer for layer in config.layers or () if layer >= session.shape.layers]
        if beyond:
            raise UsageError(f"layer {beyond[0]} is not in this model; its blocks are 0 to {session.shape.layers - 1}")
        return blocks(config, session.shape.layers)


def _rows(rows: int, batch: int, length: int, generated: int) -> Work:
    """Passes over rows of prompts, as many at once as they are run."""
    return Work(math.ceil(rows / batch), min(rows, batch), length, generated=generated, logits=1)


def _further(config: ContextKnobConfig) -> list[Work]:
    """The further configurations of both arms: prompts told and untold, shown pairs once a batch, and steering."""
    batches = 2 * math.ceil(config.configurations / 8)
    found = []
    for long, tellings in ((LENGTH, 3), (2 * LENGTH, 3), (LENGTH, 2), (LENGTH, 2)):
        ways = tellings * (2 if tellings == 3 and config.shots else 1)
        found.append(Work(batches * ways, 16, long, generated=4, logits=1))
        if tellings == 3 and config.shots:
            found.append(Work(batches * tellings, 1, 2 * config.shots * long, logits=1))
    return [*found, Work(batches * 6, 32, 1, generated=4, logits=1)]


def _searched(layers: int, length: int, config: ContextKnobConfig) -> list[Work]:
    """The layer search of both arms: prompts under both intents, readings after every block, and the sweep."""
    looking, held_out = min(config.search_items, config.n_validation), min(config.search_items, config.n)
    evaluations = 2 * math.ceil(math.log2(layers)) + 4
    # below the first patched block nothing is read again, and a reading begins after the block it is made at
    rows = 2 * 4 * layers * (evaluations * looking + 4 * held_out)
    return [
        Work(2, 2 * looking, length, logits=1),
        Work(2, 2 * held_out, length, logits=1),
        Work(math.ceil(rows / 96), 96, 1, logits=1, layers=0.4),
        Work(2 * 4 * evaluations, looking, 1, logits=1),
        Work(2 * 4 * 2 * layers, held_out, 1, logits=1),
    ]
