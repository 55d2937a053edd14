"""What the predictions of a run say: curves, the nearest algorithm, sweeps, shifts, each with its intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from workbench.probe.statistics import mean_bounds, resample
from workbench.records.results import variable

from .metrics import nearest_two

if TYPE_CHECKING:
    import xarray as xr

    from workbench.probe.contract import RunContext

    from .asking import Task

LEARNER = "learner"
NONE = "none"
"""What a prefix is called where nothing is nearer than always saying 0."""
BELOW, FROM = "1 to d − 1", "d and more"


class Predictions(Protocol):
    """The predictions of a run: those that choices are made on, and those that are scored."""

    @property
    def validation(self) -> xr.Dataset: ...
    @property
    def test(self) -> xr.Dataset: ...


def spd(found: xr.Dataset, task: Task) -> np.ndarray:
    """Squared prediction difference over d, `[example, predictor, prefix]`."""
    return (np.square(found["predicted"].values - found["said"].values) / task.dimensions).transpose(1, 0, 2)


def with_bounds(
    name: str, dims: tuple[str, ...], values: np.ndarray, units: str, meaning: str, rng: np.random.Generator
) -> dict[str, Any]:
    """Means of `values [example, …]` with the ends of their intervals, as variables; a cell of NaN alone stays NaN."""
    low, high = mean_bounds(values, rng)
    there = ~np.isnan(values)
    mean = np.where(there, values, 0.0).sum(0) / np.where(there.any(0), there.sum(0), np.nan)
    return {
        name: variable(dims, mean, units, meaning),
        f"{name}_low": variable(dims, low, units, f"{meaning}, lower end of the interval"),
        f"{name}_high": variable(dims, high, units, f"{meaning}, upper end of the interval"),
    }


def curves(test: xr.Dataset, task: Task, context: RunContext) -> xr.Dataset:
    import xarray as xr

    rng = context.rng("intervals of curves")
    said = np.concatenate([test["said"].values[None], test["predicted"].values])
    errors = (np.square(said - test["label"].values) / task.dimensions).transpose(1, 0, 2)
    names = [LEARNER, *test["predictor"].values.tolist()]
    apart = spd(test, task)
    # the learner is at no distance from itself
    apart = np.concatenate([np.zeros_like(apart[:, :1]), apart], 1)
    dims = ("predictor", "prefix")
    return xr.Dataset(
        with_bounds("error", dims, errors, "1", "squared error over d", rng)
        | with_bounds("spd", dims, apart, "1", "squared difference from the learner over d", rng),
        coords={
            "predictor": ("predictor", names, {"description": "the learner, or a known learning algorithm"}),
            "prefix": test["prefix"],
        },
    )


def nearest(parts: Predictions, task: Task, context: RunContext) -> xr.Dataset:
    """The nearest predictor of each prefix, as the validation prompts say, with its margin on the test prompts."""
    import xarray as xr

    rng = context.rng("intervals of margins")
    names = parts.test["predictor"].values
    first, second = nearest_two(spd(parts.validation, task).mean(0))
    apart = spd(parts.test, task)
    prefixes = np.arange(1, task.length)
    mine, other = (apart[:, each[prefixes], prefixes] for each in (first, second))
    found = names[first[prefixes]]
    return xr.Dataset(
        {
            "nearest": variable("prefix", np.where(found == "zero", NONE, found), "", "the nearest algorithm"),
            "runner_up": variable("prefix", names[second[prefixes]], "", "the second nearest"),
        }
        | with_bounds("spd", ("prefix",), mine, "1", "squared difference from the nearest over d", rng)
        | with_bounds("margin", ("prefix",), other - mine, "1", "by how much the second nearest is farther", rng),
        coords={"prefix": ("prefix", prefixes, parts.test["prefix"].attrs)},
    )


def phase_spd(found: xr.Dataset, task: Task) -> np.ndarray:
    """SPD over d, means over the prefixes below d and over those from d on, `[example, predictor, range]`."""
    apart = spd(found, task)
    edge = min(max(2, task.dimensions), task.length - 1)
    return np.stack([apart[:, :, 1:edge].mean(2), apart[:, :, edge:].mean(2)], 2)


def phases(parts: Predictions, task: Task, context: RunContext) -> xr.Dataset:
    """The nearest predictor of both ranges of prefixes, chosen on validation prompts and measured on test prompts."""
    import xarray as xr

    rng = context.rng("intervals of phases")
    names = parts.test["predictor"].values
    first, second = nearest_two(phase_spd(parts.validation, task).mean(0))
    apart = phase_spd(parts.test, task)
    mine, other = (apart[:, each, np.arange(2)] for each in (first, second))
    found = names[first]
    return xr.Dataset(
        {
            "nearest": variable("range", np.where(found == "zero", NONE, found), "", "the nearest algorithm"),
            "runner_up": variable("range", names[second], "", "the second nearest"),
        }
        | with_bounds("spd", ("range",), mine, "1", "squared difference from the nearest over d", rng)
        | with_bounds("margin", ("range",), other - mine, "1", "by how much the second nearest is farther", rng)
        | with_bounds("all_spd", ("predictor", "range"), apart, "1", "squared difference from each over d", rng),
        coords={
            "range": ("range", [BELOW, FROM], {"description": "pairs before the query"}),
            "predictor": ("predictor", names, {"description": "a known learning algorithm"}),
        },
    )


def others(test: xr.Dataset, found: xr.Dataset, task: Task, context: RunContext) -> xr.Dataset:
    """The nearest predictor of each learner after each prefix, with its margin, on the test prompts.

    Half of the prompts choose the nearest and the second, the other half measures.
    """
    import xarray as xr

    rng = context.rng("intervals of other learners")
    names = test["predictor"].values
    prefixes = np.arange(1, task.length)
    known = test["predicted"].values
    choosing = np.arange(found.sizes["example"]) % 2 == 0
    chosen, margins, apart = [], [], []
    for said in found["said"].values:
        each = (np.square(known - said) / task.dimensions).transpose(1, 0, 2)
        first, second = nearest_two(each[choosing].mean(0))
        scored = each[~choosing]
        chosen.append(np.where(names[first[prefixes]] == "zero", NONE, names[first[prefixes]]))
        apart.append(scored[:, first[prefixes], prefixes])
        margins.append(scored[:, second[prefixes], prefixes] - apart[-1])
    dims = ("learner", "prefix")
    return xr.Dataset(
        {"nearest": variable(dims, np.stack(chosen), "", "the nearest algorithm")}
        | with_bounds("spd", dims, np.stack(apart, 1), "1", "squared difference from the nearest over d", rng)
        | with_bounds("margin", dims, np.stack(margins, 1), "1", "by how much the second nearest is farther", rng),
        coords={"learner": found["learner"], "prefix": ("prefix", prefixes, test["prefix"].attrs)},
    )


def sweep(parts: Predictions, task: Task, context: RunContext) -> xr.Dataset:
    """Squared difference from a ridge of every λ and from a gradient step of every α, and where they are least."""
    import xarray as xr

    rng = context.rng("intervals of sweeps")
    found: dict[str, Any] = {}
    for axis, name, sign in (("penalty", "ridge_spd", "λ"), ("rate", "gd_spd", "α")):
        values, where = parts.test[name].values.T, parts.test[axis].values
        found |= with_bounds(name, (axis,), values, "1", "squared difference over d, mean over prefixes from 1", rng)
        best = where[(resample(len(values), rng) @ values).argmin(1)]
        said = f"{sign} with the least squared difference on test prompts"
        for end, value in (
            ("", where[values.mean(0).argmin()]),
            ("_low", np.quantile(best, 0.025)),
            ("_high", np.quantile(best, 0.975)),
        ):
            found[f"fitted_{axis}{end}"] = variable((), float(value), "1", said + end.replace("_", ", interval: "))
    found["bayes_penalty"] = variable((), task.ratio, "1", "σ²/τ², the λ of the Bayes predictor")
    return xr.Dataset(found, coords={"penalty": parts.test["penalty"], "rate": parts.test["rate"]})


def implied(implied: xr.Dataset, context: RunContext) -> xr.Dataset:
    import xarray as xr

    rng = context.rng("intervals of implied weights")
    ilwd = implied["ilwd"].values.transpose(1, 0, 2)
    linear = 1 - implied["unexplained"].values
    return xr.Dataset(
        with_bounds("ilwd", ("predictor", "prefix"), ilwd, "1", "squared distance of implied weights over d", rng)
        | with_bounds("linearity", ("prefix",), linear, "share", "share of answers' squares that is linear", rng)
        | {
            f"path_{name}": variable(("prefix", "feature"), implied[name].values[0], "1", f"{text} of one prompt")
            for name, text in (("weights", "implied weights"), ("ols_weights", "weights of least squares"))
        }
        | {"path_true": variable("feature", implied["true_weights"].values[0], "1", "true weights of that prompt")},
        coords={name: implied[name] for name in ("predictor", "prefix", "feature")},
    )


def means(shifts: xr.Dataset, context: RunContext, purpose: str) -> xr.Dataset:
    import xarray as xr

    rng = context.rng(f"intervals of {purpose}")
    found: dict[str, Any] = {}
    for name in ("error", "spd"):
        values = shifts[name].transpose("example", ...)
        dims = tuple(str(each) for each in values.dims[1:])
        found |= with_bounds(name, dims, values.values, "1", values.attrs["description"], rng)
    return xr.Dataset(found, coords={name: shifts[name] for name in ("shift", "predictor", "prefix")})


def labels(labels: xr.Dataset, context: RunContext) -> xr.Dataset:
    """Cosine between the learner's sensitivities and those of each predictor, and both for one prompt."""
    import xarray as xr

    values = labels["sensitivity"].values
    size = np.linalg.norm(values, axis=-1)
    cosine = (values[1:] * values[0]).sum(-1) / np.maximum(size[1:] * size[0], np.finfo(float).tiny)
    known = labels["predictor"].values[1:]
    return xr.Dataset(
        with_bounds(
            "cosine", ("known",), cosine.T, "1", "cosine of the learner's sensitivities and a predictor's",
            context.rng("intervals of sensitivities"),
        )
        | {"one_prompt": variable(("predictor", "pair"), values[:, 0], "1", "change with one label")},
        coords={
            "known": ("known", known, {"description": "a known learning algorithm"}),
            "predictor": labels["predictor"],
            "pair": labels["pair"],
        },
    )  # fmt: skip
