"""Which learning algorithm in-context learning runs, and where its quantities are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from workbench.probe.contract import Outcome, Paper, Probe, RunContext, Work

from . import behaviour
from .asking import answers, task_of
from .config import PRESETS, IclRegressionConfig
from .encodings import encodings, prefixes_of
from .exchange import exchange
from .findings import outcome
from .parts import Parts

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session

    from .asking import Task
    from .prompts import Prompts

TARGET = "weights"
"""The quantity that is exchanged."""


class IclRegression(Probe[IclRegressionConfig]):
    """Predictions beside those of known algorithms; position probes of XᵀY and the weights, and their exchange."""

    name = "icl-regression"
    question = "Which learning algorithm does in-context learning run, and where are its quantities encoded?"
    method = "squared differences from reference predictors, position-attended probes, exchange of what they read"
    papers: ClassVar[Sequence[Paper]] = (
        Paper("What learning algorithm is in-context learning? Investigations with linear models", "2211.15661"),
        Paper("What Can Transformers Learn In-Context? A Case Study of Simple Function Classes", "2208.01066"),
        Paper("Transformers Learn In-Context by Gradient Descent", "2212.07677"),
    )
    Config = IclRegressionConfig
    presets = PRESETS

    def unsuitable(self, session: Session) -> str | None:
        if session.shape.d_in is None:
            return "it reads tokens; this probe needs a model of numbers, such as organism/icl-depth4"
        if session.shape.d_in < 2 or session.shape.d_out != 1:
            return "it is no learner of regression: it needs one input for y, others for x, and one output"
        return None

    def work(self, session: Session, config: IclRegressionConfig) -> Sequence[Work]:
        task = task_of(session, config)
        long = 2 * task.length - 1
        prefixes, blocks = prefixes_of(task, config), session.shape.layers
        exchanged = len(prefixes) * blocks * (4 + config.random_subspaces)
        return [
            Work(1, config.n + config.n_validation, long),
            Work(config.queries * (task.length - 1), config.contexts, task.length),
            Work(1 + len(config.shifts), config.n, long),
            Work(1, min(config.n, config.contexts), long, backward=True),
            Work(3, config.n_probe, 2 * max(prefixes), logits=0),
            Work(exchanged, config.patched, max(prefixes)),
        ]

    def run(self, session: Session, config: IclRegressionConfig, context: RunContext) -> Outcome:
        task = task_of(session, config)

        def predictions(n: int, split: str) -> xr.Dataset:
            prompts = behaviour.drawn(n, task, context.rng(f"{split} prompts"))
            return context.stage(
                split, lambda: behaviour.predictions(session, prompts, task, config, context, f"{split} prompts")
            )

        validation, test = predictions(config.n_validation, "validation"), predictions(config.n, "test")
        same = behaviour.drawn(config.n, task, context.rng("test prompts"))
        others = context.stage("others", lambda: behaviour.others(session, same, task, config, context))
        contexts = behaviour.drawn(config.contexts, task, context.rng("contexts"))
        implied = context.stage("implied", lambda: behaviour.implied(session, contexts, task, config, context))
        shifts = context.stage("shifts", lambda: behaviour.shifted(session, task, config, context))
        labels = context.stage("labels", lambda: behaviour.sensitivity(session, contexts, task, config))
        control = control_of(session, config)
        read = context.stage("encodings", lambda: encodings(session, control, task, config, context))
        moved = context.stage("exchange", lambda: exchange(session, read, TARGET, task, config, context))
        cut = _cut_off(session, contexts, task, context)
        return outcome(
            Parts(validation, test, others, implied, shifts, labels, read, moved, cut), task, config, context
        )


def control_of(session: Session, config: IclRegressionConfig) -> Session | None:
    """The learner that was trained with one weight vector, where it takes what this one takes."""
    from workbench.internals.session import load

    if config.control_learner == "none":
        return None
    found = load(f"organism/{config.control_learner}")
    fits = found.shape.d_in == session.shape.d_in and found.shape.context == session.shape.context
    return found if fits else None


def _cut_off(session: Session, prompts: Prompts, task: Task, context: RunContext) -> float:
    """The largest change of a prediction when its prompt ends at the query: what comes after must not matter."""
    half = max(2, task.length // 2)
    whole = answers(session, prompts.x, prompts.y, context.progress, "whole prompts")[:, :half]
    ended = answers(session, prompts.x[:, :half], prompts.y[:, :half], context.progress, "prompts cut off")
    return float((whole - ended).abs().max())
