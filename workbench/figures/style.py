"""Colours, dashes and markers, the same for every renderer; nothing is told apart by colour alone."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

FONT = '-apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'

CIVIDIS = (
    "#00224e", "#002e6c", "#1e3a6f", "#35456c", "#47516c", "#575d6d", "#666970", "#757575",
    "#848279", "#948e77", "#a59c74", "#b7a96e", "#c8b866", "#dbc75a", "#eed649", "#fee838",
)  # fmt: skip
BLUE_ORANGE = (
    "#053b66", "#1f6aa5", "#5fa0cd", "#aed0e6", "#ffffff", "#fbcfa6", "#ef9a51", "#c96410", "#7d3500",
)  # fmt: skip
SCALES = {"sequential": CIVIDIS, "diverging": BLUE_ORANGE}

# Okabe and Ito (2008) without black and yellow, which vanish on a dark and on a light page.
CATEGORICAL = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MUTED = "#848b93"
"""Grey that stands off a white and a near-black page alike."""

MISSING = "#c9ced3"
"""Cells that have no number."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MATPLOTLIB_DASHES: dict[str, Any] = {
    "solid": "solid",
    "dash": (0, (5, 2)),
    "dot": (0, (1, 1.5)),
    "dashdot": (0, (5, 1.5, 1, 1.5)),
    "longdash": (0, (9, 2)),
    "longdashdot": (0, (9, 1.5, 1, 1.5)),
}
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
MATPLOTLIB_MARKERS = dict(zip(MARKERS, "osD^PX", strict=True))
PATTERNS = ("", "/", "\\", "x", ".", "+")
"""Fills of bars; Plotly and matplotlib read the same signs."""

INK = {"light": "#1d2329", "dark": "#e6e8ea"}
QUIET = {"light": "#5a626a", "dark": "#a3abb3"}
GRID = {"light": "#e3e6e9", "dark": "#363c43"}
PAPER = {"light": "#ffffff", "dark": "#15181c"}


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of `#rrggbb`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def faint(colour: str, alpha: float) -> str:
    """The colour as CSS `rgba` with this opacity."""
    return "rgba({}, {}, {}, {:g})".format(*rgb(colour), alpha)


def plotly_scale(scale: str) -> list[list[Any]]:
    """A colour scale as Plotly's list of `[share, colour]`."""
    stops = SCALES[scale]
    return [[round(i / (len(stops) - 1), 6), colour] for i, colour in enumerate(stops)]


def colour_at(scale: str, share: float) -> str:
    """The colour at a share of the scale, 0 to 1, mixed linearly between its stops."""
    stops = SCALES[scale]
    place = float(np.clip(share, 0.0, 1.0)) * (len(stops) - 1)
    left = min(bisect_right(range(len(stops)), place) - 1, len(stops) - 2)
    part = place - left
    pair = zip(rgb(stops[left]), rgb(stops[left + 1]), strict=True)
    return "#{:02x}{:02x}{:02x}".format(*(round(a + (b - a) * part) for a, b in pair))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [c / 255 for c in rgb(colour)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2), 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def text_on(colour: str) -> str:
    """Black or white, whichever reads better on this colour."""
    return max("#000000", "#ffffff", key=lambda ink: contrast(ink, colour))


def template(theme: str) -> dict[str, Any]:
    """The Plotly template of a light or a dark page; marks are the same on both."""
    axis = {
        "gridcolor": GRID[theme],
        "linecolor": QUIET[theme],
        "zerolinecolor": GRID[theme],
        "tickcolor": QUIET[theme],
        "automargin": True,
        "ticklabeloverflow": "allow",  # the last of slanted names is else left out
        "title": {"standoff": 8, "font": {"size": 13}},
    }
    return {
        "layout": {
            "font": {"family": FONT, "size": 13, "color": INK[theme]},
            "paper_bgcolor": PAPER[theme],
            "plot_bgcolor": PAPER[theme],
            "colorway": list(CATEGORICAL),
            "hoverlabel": {
                "bgcolor": PAPER[theme],
                "bordercolor": QUIET[theme],
                "font": {"family": FONT, "color": INK[theme]},
                "align": "left",
            },
            "xaxis": axis,
            "yaxis": axis,
            "title": {"x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 12}},
        }
    }
