"""The table of a sweep: effects with their interval over prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...records.results import variable
from ...statistics import DRAWS, LEVEL, mean_bounds
from .attribution import rank_correlation

if TYPE_CHECKING:
    import xarray as xr


def table(running: Any, seed: int) -> xr.Dataset:
    """What ran, as a dataset that follows the schema of results."""
    import xarray as xr

    asked = running.asked
    dims = list(asked.laid.axes)
    units, meaning = asked.units, asked.meaning
    count = len(running.base)
    coords: dict[str, Any] = {"example": np.arange(count)}
    for name, axis in asked.laid.axes.items():
        coords[name] = (name, np.asarray(axis.values), {} if axis.meaning is None else {"description": axis.meaning})
    variables: dict[str, Any] = {
        "base": variable("example", running.base, units, f"{meaning}; in the {asked.into} run, without edits"),
    }
    if asked.other is not None:
        other = "clean" if asked.into == "corrupted" else "corrupted"
        variables["other"] = variable("example", running.other, units, f"{meaning}; in the {other} run, without edits")
    base = running.base.reshape(count, *(1,) * len(dims))
    gap = float((running.other - running.base).mean()) if asked.other is not None else 0.0
    if running.method != "gradient":
        variables["value"] = variable(("example", *dims), running.values, units, meaning)
        variables |= _effects(running.values - base, "", dims, units, "change of the metric by the edit", gap, seed)
    if running.method != "run":
        told = "change of the metric by the edit, estimated from the gradient"
        variables |= _effects(running.estimates, "estimated_", dims, units, told, gap, seed)
    attrs: dict[str, Any] = {
        "edits": asked.grid.told, "into": asked.into, "prompts": count, "cells_run": running.ran,
        "cells_as_base": int((~np.isnan(running.values)).sum()) - running.ran,
        "runs_go_on_from": ", ".join(sorted(running.ways)) or "no runs",
        "interval": f"bootstrap over prompts, {DRAWS} draws, level {LEVEL}" if count > 1 else "none: one prompt",
    }  # fmt: skip
    if running.method == "both":
        found = rank_correlation(variables["effect"][1], variables["estimated_effect"][1])
        told = "Spearman's rank correlation of estimated and measured effects over the cells"
        variables["rank_correlation"] = variable((), found, "1", told)
    return xr.Dataset(variables, coords, attrs)


def _effects(
    found: np.ndarray, word: str, dims: list[str], units: str, told: str, gap: float, seed: int
) -> dict[str, Any]:
    """The mean over prompts of `[prompt, …]`, the ends of its interval, and its share of the gap between the runs."""
    mean = found.mean(0)
    several = len(found) > 1
    low, high = mean_bounds(found, np.random.default_rng(seed)) if several else (np.full_like(mean, np.nan),) * 2
    variables = {
        f"{word}effect": variable(dims, mean, units, f"{told}; mean over prompts"),
        f"{word}low": variable(dims, low, units, f"{told}; lower end of the interval of the mean"),
        f"{word}high": variable(dims, high, units, f"{told}; upper end of the interval of the mean"),
    }
    if gap:
        share = variable(dims, mean / gap, "1", f"{told}; as a share of how far the two runs are apart, in the mean")
        variables[f"{word}share"] = share
    return variables
