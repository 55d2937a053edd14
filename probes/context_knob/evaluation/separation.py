"""Configurations side by side: how far apart the values along the direction are, and how often a pair is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.probe import headline_builders as build
from workbench.probe.statistics import Interval, bootstrap_entries, bootstrap_share

from ..task.matching import pair_accuracy
from .configurations import gap

if TYPE_CHECKING:
    import xarray as xr

    from workbench.records.record import Headline

FEWEST = 4
"""Configurations below which no correlation is given."""


def table(measured: Mapping[str, xr.Dataset], rng: Callable[[str], np.random.Generator]) -> pd.DataFrame:
    """One row a configuration and arm: accuracy of pairs with its interval over subjects, and the separation."""
    rows = []
    for arm, data in measured.items():
        for place, name in enumerate(data["configuration"].values):
            one = data.isel(configuration=place)
            here = ~np.isnan(one["right"].values[0])
            right, opposite = (one[each].values[:, here] == 1 for each in ("right", "opposite"))
            subjects = one["subject"].values[here].tolist()
            both = bootstrap_share(pair_accuracy(right), rng(f"configuration {arm} {name}"), subjects)
            steered = str(one["told"].item()) == "none"
            rows.append(
                {
                    "arm": arm,
                    "configuration": str(name),
                    **{each: one[each].item() for each in ("task", "contexts", "shots", "told")},
                    "items": int(here.sum()),
                    "pair_accuracy": both.value,
                    "low": both.low,
                    "high": both.high,
                    "from_prior": float(right[0].mean()),
                    "from_context": float(right[1].mean()),
                    "neither": float((~right & ~opposite).mean()),
                    "published_pair_accuracy": float((one["published"].values[:, here] == 1).all(0).mean()),
                    "random_pair_accuracy": float((one["random_right"].values[:, here] == 1).all(0).mean())
                    if steered
                    else np.nan,
                    "separation": np.nan if steered else gap(one["value"].values[:, here]),
                    "random_separation": np.nan if steered else gap(one["random_value"].values[:, here]),
                }
            )
    return pd.DataFrame(rows)


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that separation is held against accuracy over: the base task with an intent line."""
    return rows[(rows["task"] == "base") & (rows["told"] != "none")]


def headline(rows: pd.DataFrame, rng: np.random.Generator) -> Headline | None:
    """Pearson's r between separation and pair accuracy; None for fewer than four configurations."""
    used = compared(rows)
    if len(used) < FEWEST:
        return None
    accuracy = used["pair_accuracy"].to_numpy()
    apart, control = (used[name].to_numpy() for name in ("separation", "random_separation"))
    r = pearson(apart, accuracy)
    ends = bootstrap_entries(lambda rows: pearson(apart[rows], accuracy[rows]), len(used), rng)
    by_chance = pearson(control, accuracy)
    return build.headline(
        "separation_r",
        None if np.isnan(r) or ends is None else Interval(r, *ends),
        len(used),
        unit="correlation",
        split="test",
        method=(
            "Pearson's r over configurations (arm, shots, intent line, contexts) between the gap of the mean values "
            "along the direction and pair accuracy; bootstrap over configurations, which share items and one direction"
        ),
        control=build.control(
            "the same with one random direction", None if np.isnan(by_chance) else by_chance, len(used)
        ),
    )


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two vectors; NaN where one of them does not vary."""
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 0 else float("nan")
