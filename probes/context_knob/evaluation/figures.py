"""The pictures of the further configurations: each by itself, and separation against accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Figure, Heatmap, Mark, Panel, Scatter

from ..config import ARMS
from .separation import pearson

if TYPE_CHECKING:
    import xarray as xr

TASKS = {"multihop": "two steps", "arithmetic": "arithmetic"}
SHARE = (-0.02, 1.02)


def evaluation_figures(data: xr.DataTree) -> list[Figure]:
    """What there is to draw of the further configurations."""
    if "compared" not in data.children:
        return []
    rows = data["compared"].to_dataset()
    return [_separation(rows), _configurations(rows)]


def _separation(rows: xr.Dataset) -> Figure:
    used = rows.isel(row=np.flatnonzero(((rows["task"] == "base") & (rows["told"] != "none")).values))
    marks: list[Mark] = []
    for arm, secondary in (("adapter", False), ("plain", True)):
        one = used.isel(row=np.flatnonzero((used["arm"] == arm).values))
        if one.sizes["row"]:
            values = (one[name].values.tolist() for name in ("separation", "pair_accuracy", "low", "high"))
            x, y, low, high = values
            marks.append(Scatter(x, y, ARMS[arm], low, high, one["configuration"].values.tolist(), secondary))
    r = pearson(used["separation"].values, used["pair_accuracy"].values)
    return Figure(
        name="separation",
        title="How far apart the values lie, and how often both answers are right",
        panels=[
            Panel(
                marks,
                Axis("gap between the mean values under the two intents (residual units)"),
                Axis("pair accuracy, intent told", limits=SHARE),
            )
        ],
        caption=(
            f"One point a configuration: arm, shots, intent line and contexts, nothing steered; bars are intervals "
            f"over subjects. Pearson's r = {r:.2f} over {used.sizes['row']} configurations, which share items and "
            "one direction."
        ),
        alt="Pair accuracy over the separation of the values along the direction, one point a configuration.",
    )


def _configurations(rows: xr.Dataset) -> Figure:
    told = {"instruction": "words", "float": "0/1", "none": "knob"}
    kept = rows[["pair_accuracy"]].to_dataframe()
    kept["asked"] = [
        ", ".join([contexts if task == "base" else TASKS[task], f"{shots} pairs" if shots else "zero-shot"])
        for task, contexts, shots in zip(kept["task"], kept["contexts"], kept["shots"], strict=True)
    ]
    names = list(dict.fromkeys(kept["asked"]))
    y, x = list(range(len(names))), list(range(len(told)))
    panels = []
    for arm in [arm for arm in ARMS if arm in kept["arm"].tolist()]:
        grid = kept[kept["arm"] == arm].pivot(index="asked", columns="told", values="pair_accuracy")
        values = grid.reindex(index=names, columns=list(told)).to_numpy(float)
        panels.append(
            Panel(
                [Heatmap(values, x, y, "pair accuracy", limits=(0.0, 1.0))],
                Axis("", x, list(told.values())),
                Axis("", y, names, reversed=True),
                title=ARMS[arm],
            )
        )
    return Figure(
        name="configurations",
        title="Pair accuracy in each configuration",
        panels=panels,
        caption=(
            "Strict answers on held-out items; no two configurations are pooled; pairs are shown before the question. "
            "Columns are how the intent is told: in words, as a weight from 0 to 1, or not at all and the value of the "
            "direction set instead. Intervals are in the table configurations."
        ),
        alt="Grids of pair accuracy by configuration and how the intent is told, by arm.",
        columns=len(panels),
    )
