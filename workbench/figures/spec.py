"""What a figure says, free of any drawing library: axes and marks with their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np


@dataclass(frozen=True)
class Axis:
    """One axis: its label with the unit, and ticks where positions have names (repeated names stay apart)."""

    label: str
    ticks: Sequence[float] | None = None
    tick_labels: Sequence[str] | None = None
    limits: tuple[float, float] | None = None
    log: bool = False
    reversed: bool = False
    dim: str = ""
    """The dimension whose values are the positions, if it is one that a reader can choose: a click chooses there."""


@dataclass(frozen=True)
class Heatmap:
    """A grid of values `[y, x]`; `outlined` cells `(y, x)` carry a border, so that colour is not the only channel."""

    values: np.ndarray
    x: Sequence[float]
    y: Sequence[float]
    label: str
    scale: Literal["sequential", "diverging"] = "sequential"
    limits: tuple[float, float] | None = None
    outlined: Sequence[tuple[float, float]] = ()
    pooled: str = ""
    """How cells were binned to fit the display budget, in words; empty if they were not."""


@dataclass(frozen=True)
class Line:
    """A curve with an optional band from `low` to `high`."""

    x: Sequence[float]
    y: Sequence[float]
    label: str = ""
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    secondary: bool = False
    """Drawn in grey, for a control or a single sample behind the curve that matters."""


@dataclass(frozen=True)
class Scatter:
    """Single points with optional error bars; `names` say what each one is."""

    x: Sequence[float]
    y: Sequence[float]
    label: str = ""
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    names: Sequence[str] | None = None
    secondary: bool = False
    dims: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By dimension, the value that each point stands for: what a click on the point chooses."""


@dataclass(frozen=True)
class Bars:
    """Bars over numbered positions with optional error bars."""

    x: Sequence[float]
    y: Sequence[float]
    label: str = ""
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    names: Sequence[str] | None = None
    secondary: bool = False


@dataclass(frozen=True)
class Violin:
    """One distribution of samples over each position."""

    x: Sequence[float]
    samples: Sequence[Sequence[float]]
    label: str = ""


@dataclass(frozen=True)
class ReferenceLine:
    """A straight line at one value, for a threshold or a reference."""

    at: float
    across: Literal["x", "y"] = "y"
    """The axis that the value belongs to."""
    label: str = ""


@dataclass(frozen=True)
class Tokens:
    """A text with one value a token, drawn as shaded words."""

    tokens: Sequence[str]
    values: Sequence[float]
    label: str
    limits: tuple[float, float] | None = None


Mark = Heatmap | Line | Scatter | Bars | Violin | ReferenceLine | Tokens


@dataclass(frozen=True)
class Panel:
    """One pair of axes and the marks drawn on it."""

    marks: Sequence[Mark]
    x: Axis
    y: Axis
    title: str = ""


@dataclass(frozen=True)
class FigureSpec:
    """A picture as plain data: what every renderer reads.

    `title` says the finding or the quantity, `caption` how to read it and what was binned, `alt` the same for someone
    who cannot see it.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    caption: str
    alt: str
    columns: int = 1

    def __str__(self) -> str:
        return f"{self.title}\n{self.caption}".strip()


MARK_NAMES: dict[type[Mark], str] = {
    Heatmap: "heatmap",
    Line: "line",
    Scatter: "points",
    Bars: "bars",
    Violin: "violins",
    ReferenceLine: "rule",
    Tokens: "tokens",
}
"""What each mark is called in a file. Saved figures hold these names, so they outlive the names of the classes."""

assert set(MARK_NAMES) == set(get_args(Mark)), "every mark needs a name in MARK_NAMES"
