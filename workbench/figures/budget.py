"""How much a figure may draw: enough to see, little enough for a browser and a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

import numpy as np

from ..errors import UsageError

if TYPE_CHECKING:
    from .spec import FigureSpec, Mark

MOST_POINTS = 100_000
"""Cells and points that one figure may draw."""


class Pooled(NamedTuple):
    """A grid within the budget, where its cells are, and how they were binned in words (empty if they were not)."""

    values: np.ndarray
    x: np.ndarray
    y: np.ndarray
    words: str


def max_pool(values: np.ndarray, max_cells: int = MOST_POINTS) -> Pooled:
    """Bin a grid `[y, x]` by the largest value of each bin until it has at most `max_cells` cells.

    The largest and not the mean, which hides single spikes; cells without a number (NaN) count only where a whole bin
    has none. `x` and `y` are the first index of each bin.

    >>> import numpy as np
    >>> from workbench.figures import max_pool
    >>> max_pool(np.arange(16).reshape(4, 4), max_cells=4).values
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    grid = np.asarray(values)
    if grid.ndim != 2:
        raise UsageError(f"pool takes a grid [y, x]; this array has {grid.ndim} axes")
    rows, columns = grid.shape
    down = across = 1
    while -(-rows // down) * -(-columns // across) > max_cells:
        if rows / down >= columns / across:
            down += 1
        else:
            across += 1
    if down == across == 1:
        return Pooled(grid, np.arange(columns), np.arange(rows), "")
    floats = grid.astype(np.float64 if grid.dtype == np.float64 else np.float32)
    padded = np.pad(floats, ((0, -rows % down), (0, -columns % across)), constant_values=np.nan)
    bins = padded.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across)
    empty = np.isnan(bins).all(axis=(1, 3))
    largest = np.where(np.isnan(bins), -np.inf, bins).max(axis=(1, 3))
    largest[empty] = np.nan
    words = f"Each cell shows the largest of {down} × {across} values (rows × columns) of a {rows} × {columns} grid."
    return Pooled(largest, np.arange(0, columns, across), np.arange(0, rows, down), words)


def points(mark: Mark) -> int:
    """Cells, points or tokens that a mark draws."""
    from .spec import Bars, Heatmap, Line, ReferenceLine, Scatter, Tokens, Violin

    if isinstance(mark, Heatmap):
        return int(np.asarray(mark.values).size)
    if isinstance(mark, Violin):
        return sum(len(sample) for sample in mark.samples)
    if isinstance(mark, Tokens):
        return len(mark.tokens)
    if isinstance(mark, ReferenceLine):
        return 1
    if isinstance(mark, Line | Scatter | Bars):
        return len(mark.x)
    assert_never(mark)


def check(figure: FigureSpec) -> None:
    """Raise `UsageError` if the figure draws more than the budget."""
    drawn = sum(points(mark) for panel in figure.panels for mark in panel.marks)
    if drawn > MOST_POINTS:
        raise UsageError(
            f"figure {figure.name!r} would draw {drawn:,} points; at most {MOST_POINTS:,} fit: "
            "bin grids with workbench.figures.pool, or draw fewer points"
        )
