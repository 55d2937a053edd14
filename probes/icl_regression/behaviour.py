"""What a learner says, beside what each reference predictor says of the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.progress import Reporter
from workbench.records.results import variable

from .asking import Task, answers, answers_to, label_sensitivity
from .config import IclRegressionConfig
from .metrics import implied_weights, squared_difference
from .predictors import Predictor, candidates, gradient_descent, ols, optimal_step, ridge
from .prompts import SHIFTS, Prompts, Shift, sample, shifted_queries
from .shipped import beside

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.probe.contract import RunContext

GRID = 49
"""Values of λ and of α among which the nearest one is looked for."""
LEAST, MOST = 1e-4, 1e2
"""Ends of the values of λ; those of α are a thousandth of them."""
PREFIX = "pairs before the query"
BLOCKS = "blocks that the stream has passed; 0 is the read-in"


def predictors(config: IclRegressionConfig, task: Task) -> list[Predictor]:
    """The algorithms of a run."""
    return candidates(config.penalties, config.rates, config.steps, task.ratio)


def drawn(n: int, task: Task, rng: np.random.Generator, shift: Shift = "none") -> Prompts:
    """Prompts of the learner's task."""
    return sample(n, task.length, task.dimensions, rng, task.noise, task.spread, shift)


def predictions(
    session: Session, prompts: Prompts, task: Task, config: IclRegressionConfig, context: RunContext, stage: str
) -> xr.Dataset:
    """Predictions of the learner and of all predictors, and how near a ridge and a gradient step of any size comes."""
    import xarray as xr

    said = answers(session, prompts.x, prompts.y, context.progress, stage)
    known = predictors(config, task)
    by = []
    for each in context.progress.steps(known, f"{stage}: predictors"):
        by.append(each.predict(prompts.x, prompts.y).numpy())
    penalties = np.geomspace(LEAST, MOST, GRID)
    rates = penalties / 1000

    def near(each: Predictor) -> np.ndarray:
        apart = squared_difference(each.predict(prompts.x, prompts.y), said, task.dimensions)
        return apart[:, 1:].mean(1)

    dims = ("predictor", "example", "prefix")
    return xr.Dataset(
        {
            "label": variable(("example", "prefix"), prompts.y.numpy(), "1", "label of the pair after a prefix"),
            "said": variable(("example", "prefix"), said.numpy(), "1", "what the learner predicts of it"),
            "predicted": variable(dims, np.stack(by), "1", "what a predictor that sees the prefix predicts of it"),
            "ridge_spd": variable(
                ("penalty", "example"),
                np.stack([near(ridge(float(each))) for each in context.progress.steps(penalties, f"{stage}: λ")]),
                "1",
                "squared difference from a ridge over d, mean over prefixes from 1",
            ),
            "gd_spd": variable(
                ("rate", "example"),
                np.stack([near(gradient_descent(float(each))) for each in rates]),
                "1",
                "squared difference from one gradient step over d, mean over prefixes from 1",
            ),
        },
        coords={
            "predictor": ("predictor", [each.name for each in known], {"description": "a known learning algorithm"}),
            "penalty": ("penalty", penalties, {"description": "λ of a ridge"}),
            "rate": ("rate", rates, {"description": "α of one gradient step"}),
            **_along(len(prompts), task.length),
        },
    )


def implied(
    session: Session, prompts: Prompts, task: Task, config: IclRegressionConfig, context: RunContext
) -> xr.Dataset:
    """Implied weights of the learner after each prefix, and their squared distance from each linear predictor's."""
    import xarray as xr

    rng = context.rng("queries of implied weights")
    linear = [each for each in predictors(config, task) if each.weights is not None]
    truth = {each.name: each.weights(prompts.x, prompts.y) for each in linear if each.weights is not None}
    prefixes = list(range(1, task.length))
    weights, unexplained = [], []
    for n in prefixes:
        queries = torch.from_numpy(rng.standard_normal((len(prompts), config.queries, task.dimensions)))
        said = answers_to(
            session, prompts.x[:, :n], prompts.y[:, :n], queries, context.progress, f"implied weights, {n} pairs"
        )
        found, left = implied_weights(said, queries)
        weights.append(found)
        unexplained.append(left)
    mine = torch.stack(weights, 1)
    apart = [((mine - each[:, 1:]).square().sum(-1) / task.dimensions).numpy() for each in truth.values()]
    return xr.Dataset(
        {
            "weights": variable(("example", "prefix", "feature"), mine.numpy(), "1", "implied linear weights"),
            "true_weights": variable(("example", "feature"), prompts.w.numpy(), "1", "weights of the prompt's task"),
            "ols_weights": variable(
                ("example", "prefix", "feature"), truth["ols"][:, 1:].numpy(), "1", "weights of least squares"
            ),
            "unexplained": variable(
                ("example", "prefix"),
                torch.stack(unexplained, 1).numpy(),
                "share",
                "share of the answers' squares that no linear weights explain",
            ),
            "ilwd": variable(
                ("predictor", "example", "prefix"),
                np.stack(apart),
                "1",
                "squared distance of implied weights from a predictor's, over d",
            ),
        },
        coords={
            "predictor": ("predictor", list(truth), {"description": "a linear predictor"}),
            "feature": np.arange(task.dimensions),
            "example": np.arange(len(prompts)),
            "prefix": ("prefix", prefixes, {"description": PREFIX}),
        },
    )


def shifted(session: Session, task: Task, config: IclRegressionConfig, context: RunContext) -> xr.Dataset:
    """Errors and squared differences where inputs or queries come from another distribution than in training."""
    import xarray as xr

    near = [ols(), ridge(config.penalties[0]), optimal_step(task.ratio)]
    names: list[Shift] = ["none", *(each for each in config.shifts if each != "none")]
    shape = (len(names), config.n, task.length)
    error, spd = np.full(shape, np.nan), np.full((len(names), len(near), *shape[1:]), np.nan)
    silent = Reporter(cancelled=context.progress.cancelled)
    of_queries = ("repeated_query", "orthogonal_query")
    for place, shift in enumerate(names):
        rng = context.rng(f"shift {shift}")
        prompts = drawn(config.n, task, rng, shift)
        if shift not in of_queries:
            said = answers(session, prompts.x, prompts.y, context.progress, f"shift {shift}")
            true = torch.einsum("pnd,pd->pn", prompts.x, prompts.w)
            error[place] = squared_difference(said, true, task.dimensions)
            for row, each in enumerate(near):
                spd[place, row] = squared_difference(said, each.predict(prompts.x, prompts.y), task.dimensions)
            continue
        most = task.length if shift == "repeated_query" else min(task.length, task.dimensions)
        for n in context.progress.steps(range(1, most), f"shift {shift}"):
            query = shifted_queries(prompts, n, shift, rng)[:, None]
            x = torch.cat([prompts.x[:, :n], query], 1)
            labels = torch.cat([prompts.y[:, :n], torch.zeros(config.n, 1)], 1)
            said = answers_to(session, x[:, :n], labels[:, :n], query, silent, shift)[:, 0]
            error[place, :, n] = squared_difference(said, (query[:, 0] * prompts.w).sum(-1), task.dimensions)
            for row, each in enumerate(near):
                spd[place, row, :, n] = squared_difference(said, each.predict(x, labels)[:, n], task.dimensions)
    return xr.Dataset(
        {
            "error": variable(
                ("shift", "example", "prefix"), error, "1", "squared error over d, against labels without noise"
            ),
            "spd": variable(
                ("shift", "predictor", "example", "prefix"), spd, "1", "squared difference from a predictor over d"
            ),
        },
        coords={
            "shift": ("shift", names, {"description": "; ".join(f"{each}: {SHIFTS[each]}" for each in names)}),
            "predictor": ("predictor", [each.name for each in near], {"description": "a known learning algorithm"}),
            **_along(config.n, task.length),
        },
    )


def sensitivity(session: Session, prompts: Prompts, task: Task, config: IclRegressionConfig) -> xr.Dataset:
    """How the last prediction depends on each label, beside the same of predictors (of least squares its hat row)."""
    import xarray as xr

    known = [ols(), ridge(config.penalties[0]), optimal_step(task.ratio)]
    found = [label_sensitivity(session, prompts.x, prompts.y).numpy()]
    before = task.length - 1
    for each in known:
        # predictions are linear in the labels: those of unit labels are the derivatives
        rows = []
        for place in range(before):
            labels = torch.zeros_like(prompts.y)
            labels[:, place] = 1.0
            rows.append(each.predict(prompts.x, labels)[:, -1])
        found.append(torch.stack(rows, 1).numpy())
    names = ["learner", *(each.name for each in known)]
    return xr.Dataset(
        {
            "sensitivity": variable(
                ("predictor", "example", "pair"), np.stack(found), "1", "change of the last prediction with one label"
            )
        },
        coords={
            "predictor": ("predictor", names, {"description": "the learner, or a known learning algorithm"}),
            "example": np.arange(len(prompts)),
            "pair": ("pair", np.arange(before), {"description": "pair of the prompt, from 0"}),
        },
    )


def others(
    session: Session, prompts: Prompts, task: Task, config: IclRegressionConfig, context: RunContext
) -> xr.Dataset:
    """Predictions of this learner and of the shipped ones of the same task, on the same prompts."""
    import xarray as xr

    from workbench.internals.session import load

    found = beside(session, task) if config.beside == "shipped" else []
    names = ["this learner", *(each.name for each in found)]
    said = []
    for name in names:
        asked = session if name == names[0] else load(f"organism/{name}")
        said.append(answers(asked, prompts.x, prompts.y, context.progress, f"beside: {name}").numpy())
    return xr.Dataset(
        {"said": variable(("learner", "example", "prefix"), np.stack(said), "1", "what a learner predicts")},
        coords={
            "learner": ("learner", names, {"description": "learners of one task"}),
            **_along(len(prompts), task.length),
        },
    )


def _along(examples: int, length: int) -> dict[str, Any]:
    prefix: Sequence[int] = range(length)
    return {"example": np.arange(examples), "prefix": ("prefix", list(prefix), {"description": PREFIX})}
