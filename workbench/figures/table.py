"""The numbers that a figure draws, as one long table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from ..formatting import csv_safe
from .spec import Axis, Bars, FigureSpec, Heatmap, Line, Mark, Panel, ReferenceLine, Scatter, Tokens, Violin

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("panel", "series", "name", "y", "y_name", "x", "x_name", "value", "low", "high")


def frame(figure: FigureSpec) -> pd.DataFrame:
    """One row a number drawn: the panel and series it belongs to, where it is, its value and interval.

    Columns that the figure has no use for are left out. `attrs` hold the labels of the axes.
    """
    import pandas as pd

    parts = [_mark_frame(mark, panel, p) for p, panel in enumerate(figure.panels) for mark in panel.marks]
    whole = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True) if parts else pd.DataFrame()
    kept = [
        column
        for column in COLUMNS
        if column in whole and not whole[column].isna().all() and not (whole[column] == "").all()
    ]
    if len(figure.panels) == 1 and "panel" in kept:
        kept.remove("panel")
    whole = whole[kept]
    whole.attrs = {
        "title": figure.title,
        "x": [panel.x.label for panel in figure.panels],
        "y": [panel.y.label for panel in figure.panels],
    }
    return whole


def _names(axis: Axis, at: Sequence[float] | np.ndarray) -> list[str]:
    if axis.ticks is None or axis.tick_labels is None:
        return [""] * len(at)
    known = {float(tick): label for tick, label in zip(axis.ticks, axis.tick_labels, strict=True)}
    return [known.get(float(place), "") for place in at]


def _mark_frame(mark: Mark, panel: Panel, p: int) -> dict[str, Any]:
    where: dict[str, Any] = {"panel": panel.title or str(p + 1), "series": mark.label}
    if isinstance(mark, ReferenceLine):
        return where | {mark.across: [float(mark.at)], "series": mark.label or "reference line"}
    if isinstance(mark, Tokens):
        return where | {"x": np.arange(len(mark.tokens)), "name": list(mark.tokens), "value": list(mark.values)}
    if isinstance(mark, Heatmap):
        rows, columns = np.asarray(mark.values).shape
        y, x = np.repeat(np.asarray(mark.y), columns), np.tile(np.asarray(mark.x), rows)
        drawn: dict[str, Any] = {"x": x, "y": y, "value": np.asarray(mark.values).ravel()}
        return where | drawn | {"x_name": _names(panel.x, x), "y_name": _names(panel.y, y)}
    if isinstance(mark, Violin):
        x = np.repeat(np.asarray(mark.x), [len(sample) for sample in mark.samples])
        drawn = {"x": x, "y": np.asarray([value for sample in mark.samples for value in sample])}
        return where | drawn | {"x_name": _names(panel.x, x)}
    if not isinstance(mark, Line | Scatter | Bars):
        assert_never(mark)
    drawn = {"x": np.asarray(mark.x), "y": np.asarray(mark.y), "x_name": _names(panel.x, np.asarray(mark.x))}
    for optional, column in (("low", "low"), ("high", "high"), ("names", "name")):
        if getattr(mark, optional, None) is not None:
            drawn[column] = list(getattr(mark, optional))
    return where | drawn


def csv(table: pd.DataFrame) -> str:
    """A table as CSV, safe to open in a spreadsheet."""
    safe = table.copy()
    for column in safe.columns:
        if safe[column].dtype.kind not in "biuf":
            safe[column] = [csv_safe(value) for value in safe[column]]
    return str(safe.to_csv(index=False, float_format="%.7g", lineterminator="\n"))
