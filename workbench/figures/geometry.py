"""Where things are in a figure, computed once for every renderer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from . import style
from .spec import MARK_NAMES, Bars, FigureSpec, Heatmap, Panel, ReferenceLine, Tokens, Violin
from .text import escape_whitespace, folded, shorten

WIDTH = 760
"""Pixels across all panels that heights are measured against."""
TOKEN_COLUMNS = 88
TOKEN_GAP = 0.15
LONGEST_TOKEN = 40
LONGEST_LABEL = 80
LONGEST_TICK = 24
MOST_TICKS = 16
WRITTEN_CELLS = 64
"""A grid of at most so many cells has its values written in them."""
MARKED_POINTS = 40
"""A curve of at most so many points has markers, a violin its samples."""


class Series(NamedTuple):
    """How one mark is told from the others."""

    colour: str
    dash: str
    marker: str
    pattern: str
    in_legend: bool


class Cell(NamedTuple):
    """A token's place in a text drawn as lines: first column, row from the top, width in characters."""

    start: int
    row: int
    width: int
    text: str


class Place(NamedTuple):
    """Bars of one series: shift of their centres and their width, in units of x."""

    shift: float
    width: float


def series(figure: FigureSpec) -> dict[tuple[int, int], Series]:
    """The style of every curve, point, bar and violin, by panel and mark; equal labels look equal in all panels."""
    index: dict[tuple[bool, str], int] = {}
    found: dict[tuple[int, int], Series] = {}
    drawn = tuple(kind for kind in MARK_NAMES if kind not in (Heatmap, Tokens, ReferenceLine))
    told_apart = {
        (mark.label, getattr(mark, "secondary", False))
        for panel in figure.panels
        for mark in panel.marks
        if isinstance(mark, drawn)
    }
    for p, panel in enumerate(figure.panels):
        unnamed = 0
        for m, mark in enumerate(panel.marks):
            if not isinstance(mark, drawn):
                continue
            secondary = getattr(mark, "secondary", False)
            unnamed += not mark.label and not secondary
            key = (secondary, mark.label or ("" if secondary else f"\0{unnamed}"))
            first = key not in index
            i = index.setdefault(key, sum(1 for other, _ in index if other == secondary))
            found[p, m] = Series(
                colour=style.MUTED if secondary else style.CATEGORICAL[i % len(style.CATEGORICAL)],
                dash=style.DASHES[(i + secondary) % len(style.DASHES)] if mark.label or not secondary else "solid",
                marker=style.MARKERS[(i + secondary) % len(style.MARKERS)],
                pattern=style.PATTERNS[(i + secondary) % len(style.PATTERNS)],
                in_legend=bool(mark.label) and first and len(told_apart) > 1,
            )
    return found


def colour_limits(mark: Heatmap | Tokens) -> tuple[float, float]:
    """Ends of the colour scale; those of a diverging scale are equally far from zero, which is then white."""
    values = np.asarray(mark.values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    low, high = mark.limits or ((float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0))
    if scale_of(mark) == "diverging":
        far = max(abs(low), abs(high)) or 1.0
        return -far, far
    return (low, high) if high > low else (low, low + 1.0)


def scale_of(mark: Heatmap | Tokens) -> str:
    """The colour scale of a mark; tokens take the diverging one once a value is below zero."""
    if isinstance(mark, Heatmap):
        return mark.scale
    values = np.asarray(mark.values, dtype=np.float64)
    return "diverging" if bool((values < 0).any()) else "sequential"


def token_colours(mark: Tokens) -> list[str]:
    """The colour of every token; one without a number is grey."""
    low, high = colour_limits(mark)
    values = np.asarray(mark.values, dtype=np.float64)
    scale = scale_of(mark)
    return [
        style.colour_at(scale, (value - low) / (high - low)) if np.isfinite(value) else style.MISSING
        for value in values
    ]


def writes_values(mark: Heatmap) -> bool:
    """Whether a grid is small enough to have its values written in its cells."""
    return np.asarray(mark.values).size <= WRITTEN_CELLS


def counting_ticks(panel: Panel, way: str) -> list[int] | None:
    """Whole ticks of an axis `x` or `y` that counts heads, layers or positions; None if it measures something."""
    counted = (Heatmap, Bars, Violin) if way == "x" else (Heatmap,)
    places = [np.asarray(getattr(mark, way), dtype=np.float64) for mark in panel.marks if isinstance(mark, counted)]
    at = np.unique(np.concatenate(places)) if places else np.zeros(0)
    if not at.size or np.any(at % 1):
        return None
    low, high = int(at[0]), int(at[-1])
    steps = (base * 10**power for power in range(9) for base in (1, 2, 5))
    chosen = next(step for step in steps if (high - low) // step < MOST_TICKS)
    return list(range(-(-low // chosen) * chosen, high + 1, chosen))


def step(positions: Sequence[float]) -> float:
    """The smallest distance between two positions; 1 if there is only one."""
    at = np.unique(np.asarray(positions, dtype=np.float64))
    return float(np.diff(at).min()) if at.size > 1 else 1.0


def edges(centres: Sequence[float]) -> np.ndarray:
    """Borders between cells with these centres, one more than there are centres."""
    at = np.asarray(centres, dtype=np.float64)
    if at.size < 2:
        return np.concatenate([at - 0.5, at + 0.5])
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[at[0] - (middle[0] - at[0])], middle, [at[-1] + (at[-1] - middle[-1])]])


def outline(mark: Heatmap, cell: tuple[float, float]) -> tuple[float, float, float, float]:
    """Left, right, lower and upper border of the cell at `(y, x)`."""
    y, x = cell
    columns, rows = [float(v) for v in mark.x], [float(v) for v in mark.y]
    if float(x) not in columns or float(y) not in rows:
        raise UsageError(f"the outlined cell (y={y}, x={x}) is not a cell of the heatmap {mark.label!r}")
    i, j = columns.index(float(x)), rows.index(float(y))
    across, up = edges(mark.x), edges(mark.y)
    return float(across[i]), float(across[i + 1]), float(up[j]), float(up[j + 1])


def bar_places(panel: Panel) -> dict[int, Place]:
    """Where the bars of each series stand, side by side around their position, by mark."""
    bars = [(m, mark) for m, mark in enumerate(panel.marks) if isinstance(mark, Bars)]
    width = 0.78 * step([float(x) for _, mark in bars for x in mark.x]) / max(len(bars), 1)
    return {m: Place((i - (len(bars) - 1) / 2) * width, width * 0.94) for i, (m, _) in enumerate(bars)}


def token_cells(tokens: Sequence[str], columns: int = TOKEN_COLUMNS) -> list[Cell]:
    """Places of tokens written as lines of at most `columns` characters; a newline ends its line."""
    cells = []
    column = row = 0
    for token in tokens:
        text = shorten(escape_whitespace(token), LONGEST_TOKEN)
        width = len(text) + 1
        if column and column + width > columns:
            column, row = 0, row + 1
        cells.append(Cell(column, row, width, text))
        column += width
        if token.endswith("\n"):
            column, row = 0, row + 1
    return cells


def panel_height(panel: Panel) -> int:
    """Height in pixels that a panel's plotting area asks for."""
    heights = [260]
    for mark in panel.marks:
        if isinstance(mark, Tokens):
            rows = max((cell.row for cell in token_cells(mark.tokens)), default=0) + 1
            return max(60, 26 * rows)
        if isinstance(mark, Heatmap):
            heights.append(int(np.clip(15 * len(mark.y), 120, 640)))
            if len(mark.y) <= 12:
                return int(np.clip(26 * len(mark.y), 70, 320))
    return max(heights)


def crowded(panel: Panel, columns: int) -> bool:
    """Whether the tick labels of the horizontal axis are too long to stand beside each other."""
    labels = panel.x.tick_labels or ()
    room = WIDTH * panel_share(panel, columns) / columns
    return sum(7 * (len(shorten(label, LONGEST_TICK)) + 2) for label in labels) > room


def room_below(panel: Panel, columns: int) -> int:
    """Height in pixels for the tick labels and the title of a panel's horizontal axis."""
    if any(isinstance(mark, Tokens) for mark in panel.marks):
        return 14
    if not crowded(panel, columns):
        return 62
    longest = max(len(shorten(label, LONGEST_TICK)) for label in panel.x.tick_labels or ())
    return 62 + min(7 * longest, 260)


def upright(label: str, panel: Panel) -> list[str]:
    """Lines of a label that is written upwards beside a panel."""
    return folded(label, max(8, panel_height(panel) // 7))


def level(label: str, panel: Panel, columns: int) -> list[str]:
    """Lines of a label that is written above or below a panel."""
    return folded(label, min(LONGEST_LABEL, int(WIDTH * panel_share(panel, columns) / columns / 7.5)))


def panel_share(panel: Panel, columns: int) -> float:
    """Share of a column's width that a panel uses; grids of few columns are not stretched beyond their names."""
    grids = [mark for mark in panel.marks if isinstance(mark, Heatmap)]
    if not grids:
        return 1.0
    beside, below = (
        max((len(shorten(label, LONGEST_TICK)) for label in axis.tick_labels or ()), default=0)
        for axis in (panel.y, panel.x)
    )
    wanted = max(len(mark.x) for mark in grids) * max(44, 7 * (below + 2)) + 6 * beside
    return float(np.clip(wanted * columns / WIDTH, 0.34, 1.0))
