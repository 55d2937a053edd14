"""What a run found: data by the schema of results, with checks and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.probe.contract import Outcome
from workbench.probe.headline_builders import wide_intervals
from workbench.probe.statistics import resample
from workbench.records.record import Check
from workbench.records.results import variable

from . import comparison, headlines
from .asking import Task
from .comparison import LEARNER
from .config import IclRegressionConfig
from .encodings import CONTROL
from .parts import Parts

if TYPE_CHECKING:
    import xarray as xr

    from workbench.probe.contract import RunContext


def outcome(parts: Parts, task: Task, config: IclRegressionConfig, context: RunContext) -> Outcome:
    """Put a run's parts together."""
    import xarray as xr

    curves = comparison.curves(parts.test, task, context)
    groups = {
        "/curves": curves,
        "/nearest": comparison.nearest(parts, task, context),
        "/phases": comparison.phases(parts, task, context),
        "/others": comparison.others(parts.test, parts.others, task, context),
        "/sweep": comparison.sweep(parts, task, context),
        "/implied": comparison.implied(parts.implied, context),
        "/shifts": comparison.means(parts.shifts, context, "shifts"),
        "/labels": comparison.labels(parts.labels, context),
        "/encodings": _encodings(parts.encodings, context),
        "/exchange": _exchange(parts.exchange, context),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(dimensions=task.dimensions, pairs=task.length, noise=task.noise, spread=task.spread)
    found = headlines.all_of(parts, groups["/encodings"], task, config, context)
    return Outcome(
        data=tree,
        headlines=found,
        checks=_checks(parts, curves),
        limits=_limits(parts, task, config),
        tables={"nearest": groups["/nearest"].to_dataframe().reset_index()},
    )


def r2_draws(error: np.ndarray, scale: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Share of variance explained in bootstrap samples, `[draw, …]`; `error […, example]`, `scale […, example]`."""
    return 1 - headlines.ratio(np.moveaxis(error @ counts.T, -1, 0), np.moveaxis(scale @ counts.T, -1, 0))


def _encodings(found: xr.Dataset, context: RunContext) -> xr.Dataset:
    import xarray as xr

    rng = context.rng("intervals of probes")
    dims = ("target", "arm", "head_kind", "blocks", "prefix")
    error, scale = found["test_error"].values.astype(float), found["test_scale"].values.astype(float)
    # one scale for all heads and blocks
    scale = scale[:, :, None, None]
    counts = resample(error.shape[-1], rng, draws=500)
    low, high = np.quantile(r2_draws(error, scale, counts), [0.025, 0.975], axis=0)
    chosen = found["validation_error"].values.sum(-1) / found["validation_scale"].values.sum(-1)[:, :, None, None]
    units = "share of variance"
    return xr.Dataset(
        {
            "r2": variable(
                dims, 1 - error.sum(-1) / scale.sum(-1), units, "variance that probes explain, test prompts"
            ),
            "r2_low": variable(dims, low, units, "lower end of its interval"),
            "r2_high": variable(dims, high, units, "upper end of its interval"),
            "r2_validation": variable(dims, 1 - chosen, units, "the same on validation prompts"),
            "attention": found["attention"].astype(np.float32),
        },
        coords={name: found[name] for name in (*dims, "position")},
    )


def _exchange(found: xr.Dataset, context: RunContext) -> xr.Dataset:
    import xarray as xr

    counts = resample(found.sizes["example"], context.rng("intervals of exchanges"), draws=500)
    products, squares = headlines.products(found)
    draws = 1 - r2_draws(products, squares, counts)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    dims = ("subspace", "blocks", "prefix")
    return xr.Dataset(
        {
            "effect": variable(
                dims, headlines.ratio(products.sum(-1), squares.sum(-1)), "share", "how far predictions follow"
            ),
            "effect_low": variable(dims, low, "share", "lower end of its interval"),
            "effect_high": variable(dims, high, "share", "upper end of its interval"),
        },
        coords={name: found[name] for name in dims},
    )


def _checks(parts: Parts, curves: xr.Dataset) -> list[Check]:
    best = "bayes" if "bayes" in curves["predictor"].values else "ols"
    above = curves["error_low"].sel(predictor=best) > curves["error_high"]
    known = [name for name in curves["predictor"].values if name not in (best, LEARNER)]
    worse = [str(name) for name in known if bool(above.sel(predictor=name).any())]
    return [
        Check(
            name="no predictor errs less than the Bayes predictor",
            passed=not worse,
            detail=f"{best}, within intervals at every prefix" + (f"; but {', '.join(worse)}" if worse else ""),
        ),
        Check(
            name="a prediction does not depend on what comes after its query",
            passed=parts.cut <= 1e-4,
            detail=f"largest difference from the prompt cut off there: {parts.cut:.1e}",
        ),
    ]


def _limits(parts: Parts, task: Task, config: IclRegressionConfig) -> list[str]:
    said = [
        "the nearest algorithm is the nearest of those compared: a small distance says that predictions agree on these "
        "prompts, not that the learner computes in the same way",
        "what a probe reads can be decoded; whether it is used is what the exchange asks, along linear probes alone",
        "one learner with one training seed: what holds for it need not hold for another",
    ]
    if CONTROL not in parts.encodings["arm"].values:
        said.append("no control learner takes what this learner takes, so probes have no trained control")
    said += wide_intervals(config.n, "test prompts")
    if parts.encodings.sizes["example"] < 200:
        said.append(f"probes are scored on {parts.encodings.sizes['example']} prompts; the preset full takes more")
    return said
