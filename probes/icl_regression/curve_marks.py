"""Marks that several pictures of in-context regression share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Line, ReferenceLine

from .comparison import NONE

if TYPE_CHECKING:
    import xarray as xr

PREFIX = "pairs before the query"


def band(
    found: xr.Dataset, name: str, label: str, x: np.ndarray, secondary: bool = False, floor: float = -np.inf
) -> Line:
    """A curve with its interval; values below `floor` are drawn at it."""
    value, low, high = (np.maximum(found[f"{name}{end}"].values, floor).tolist() for end in ("", "_low", "_high"))
    return Line(x.tolist(), value, label, low, high, secondary)


def dimensions_line(data: xr.DataTree) -> ReferenceLine:
    """Where there are as many pairs as dimensions."""
    return ReferenceLine(float(data.attrs["dimensions"]), "x", "n = d")


def kind_of(name: str) -> str:
    """The kind of an algorithm, of which there are few enough for a colour each."""
    if name == NONE:
        return "nothing nearer than 0"
    first = name.split()[0]
    if first == "gd":
        return "several gradient steps" if "×" in name else "one gradient step"
    if first in ("ridge", "bayes"):
        return "ridge"
    return {"ols": "least squares", "sgd": "one-pass SGD"}.get(first, "another")
