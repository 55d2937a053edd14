"""Two scores of every head against each other: which two is chosen like any other thing in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..figures import Axis, Figure, Panel, Scatter
from .explore import SelectableDim

NAME = "two_scores"
"""Name of the figure."""
X, Y = "x_score", "y_score"
"""Names of the two coordinates."""


@dataclass(frozen=True)
class Scores:
    """What was measured of every head."""

    layers: Sequence[int]
    heads: Sequence[int]
    values: Mapping[str, np.ndarray]
    """By what the score is called, with its unit: `[layer, head]`; NaN for a head that has none."""


def coordinates(scores: Scores, x: str, y: str) -> list[SelectableDim]:
    """The choice of a score for either axis; `x` and `y` are shown first."""
    labels = list(scores.values)
    return [
        SelectableDim(name, range(len(labels)), labels.index(first), labels, figure=NAME)
        for name, first in ((X, x), (Y, y))
    ]


def scatter(scores: Scores, chosen: Mapping[str, int]) -> Figure:
    """One point a head, named `layer.head`, and the chosen head once more as a mark of its own.

    `chosen` holds a value for `layer`, `head` and the two coordinates.
    """
    labels = list(scores.values)
    x_label, y_label = labels[chosen[X]], labels[chosen[Y]]
    x, y = (np.asarray(scores.values[label], dtype=np.float64).ravel() for label in (x_label, y_label))
    heads = [(layer, head) for layer in scores.layers for head in scores.heads]
    names = [f"{layer}.{head}" for layer, head in heads]
    own = f"{chosen['layer']}.{chosen['head']}"
    seen = np.flatnonzero(np.isfinite(x) & np.isfinite(y))

    def points(which: Sequence[int], label: str) -> Scatter:
        dims = {dim: [int(heads[place][i]) for place in which] for i, dim in enumerate(("layer", "head"))}
        return Scatter(x[which].tolist(), y[which].tolist(), label, names=[names[at] for at in which], dims=dims)

    marks = [points(seen.tolist(), "all heads")]
    left = "" if len(seen) == len(names) else f" {len(names) - len(seen)} of {len(names)} heads have no such value."
    marked = (place := names.index(own)) in seen
    if marked:
        marks.append(points([place], f"head {own}"))
    told = f"head {own} is {'marked' if marked else 'none of them'}"
    return Figure(
        name=NAME,
        title=f"Every head by two scores: {_short(y_label)} over {_short(x_label)}",
        panels=[Panel(marks, Axis(x_label), Axis(y_label))],
        caption=f"One point a head; {told}.{left}",
        alt=f"Points of all heads, {x_label} across and {y_label} up; {told}.",
    )


def _short(label: str) -> str:
    return label.split(" (")[0]
