"""How matplotlib draws each kind of mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from . import geometry, style
from .geometry import Series
from .spec import Bars, Heatmap, Line, Panel, ReferenceLine, Scatter, Tokens, Violin
from .text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_VECTORS = 2_000
"""A mark of more points than this becomes an image inside the SVG."""
MOST_CELLS = 600
"""A grid of more cells than this becomes an image inside the SVG."""


def draw_mark(axes: Axes, panel: Panel, m: int, look: Series | None) -> Any:
    """Draw the panel's mark `m`; returns what stands for it in the legend, if anything."""
    mark = panel.marks[m]
    if isinstance(mark, Heatmap):
        return _heatmap(axes, mark, panel)
    if isinstance(mark, Tokens):
        return _tokens(axes, mark, panel)
    if isinstance(mark, ReferenceLine):
        return _rule(axes, mark)
    assert look is not None, "every other mark is a series"
    if isinstance(mark, Line):
        return _line(axes, mark, look)
    if isinstance(mark, Scatter):
        return _points(axes, mark, look)
    if isinstance(mark, Bars):
        return _bars(axes, mark, look, geometry.bar_places(panel)[m])
    if isinstance(mark, Violin):
        return _violins(axes, mark, look)
    assert_never(mark)


def _colours(scale: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(scale, style.SCALES[scale])


def _bar_of_scale(axes: Axes, drawn: Any, lines: list[str]) -> None:
    wide = 0.014 / axes.get_position().width
    bar = axes.figure.colorbar(drawn, cax=axes.inset_axes((1 + wide, 0, wide, 1)))
    bar.outline.set_visible(False)
    bar.set_label("\n".join(lines))


def _heatmap(axes: Axes, mark: Heatmap, panel: Panel) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    low, high = geometry.colour_limits(mark)
    values = np.ma.masked_invalid(np.asarray(mark.values, dtype=np.float64))
    borders = (geometry.edges(mark.x), geometry.edges(mark.y))
    if values.mask.any():
        missing = np.ma.masked_where(~np.ma.getmaskarray(values), np.zeros(values.shape))
        axes.pcolormesh(*borders, missing, cmap=ListedColormap([style.MISSING]), rasterized=values.size > MOST_CELLS)
    drawn = axes.pcolormesh(
        *borders,
        values,
        cmap=_colours(mark.scale),
        vmin=low,
        vmax=high,
        rasterized=values.size > MOST_CELLS,
        antialiased=False,
        edgecolors="face",  # no seams between cells
        linewidth=0.5,
    )
    _bar_of_scale(axes, drawn, geometry.upright(mark.label, panel))
    if geometry.writes_values(mark):
        for (j, i), value in np.ndenumerate(np.asarray(mark.values, dtype=np.float64)):
            if np.isfinite(value):
                ink = style.text_on(style.colour_at(mark.scale, (value - low) / (high - low)))
                axes.text(
                    mark.x[i],
                    mark.y[j],
                    f"{value:.2g}".replace("-", "−"),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color=ink,
                )
    for cell in mark.outlined:
        left, right, lower, upper = geometry.outline(mark, cell)
        for colour, width in (("#ffffff", 2.6), ("#000000", 1.2)):
            axes.add_patch(
                Rectangle((left, lower), right - left, upper - lower, fill=False, ec=colour, lw=width, clip_on=False)
            )


def _tokens(axes: Axes, mark: Tokens, panel: Panel) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low, high = geometry.colour_limits(mark)
    scale = geometry.scale_of(mark)
    cells = geometry.token_cells(mark.tokens)
    fills = geometry.token_colours(mark)
    axes.barh(
        [cell.row for cell in cells],
        [cell.width - geometry.TOKEN_GAP for cell in cells],
        left=[cell.start for cell in cells],
        height=0.92,
        color=fills,
    )
    for cell, fill in zip(cells, fills, strict=True):
        spot = (cell.start + cell.width / 2, cell.row)
        axes.text(*spot, cell.text, ha="center", va="center", fontsize=7, family="monospace", color=style.text_on(fill))
    _bar_of_scale(axes, ScalarMappable(Normalize(low, high), _colours(scale)), geometry.upright(mark.label, panel))


def _rule(axes: Axes, mark: ReferenceLine) -> None:
    line: dict[str, Any] = {"color": style.MUTED, "linewidth": 1.0, "linestyle": style.MATPLOTLIB_DASHES["dash"]}
    if mark.across == "y":
        axes.axhline(mark.at, zorder=1, **line)
        spot: dict[str, Any] = {"xy": (1, mark.at), "xycoords": axes.get_yaxis_transform(), "ha": "right"}
        shift = (0, 2)
    else:
        axes.axvline(mark.at, zorder=1, **line)
        spot = {"xy": (mark.at, 1), "xycoords": axes.get_xaxis_transform(), "va": "top"}
        shift = (3, 0)
    if mark.label:
        axes.annotate(
            shorten(mark.label, geometry.LONGEST_LABEL), xytext=shift, textcoords="offset points", fontsize=8, **spot
        )


def _line(axes: Axes, mark: Line, look: Series) -> Any:
    few = len(mark.x) <= geometry.MARKED_POINTS and not (mark.secondary and not mark.label)
    if mark.low is not None and mark.high is not None:
        axes.fill_between(mark.x, mark.low, mark.high, color=look.colour, alpha=0.18, linewidth=0)
    (curve,) = axes.plot(
        mark.x,
        mark.y,
        color=look.colour,
        linewidth=0.9 if mark.secondary else 1.6,
        alpha=0.5 if mark.secondary and not mark.label else 1.0,
        linestyle=style.MATPLOTLIB_DASHES[look.dash],
        marker=style.MATPLOTLIB_MARKERS[look.marker] if few else None,
        markersize=4,
        zorder=2 if mark.secondary else 3,
        rasterized=len(mark.x) > MOST_VECTORS,
    )
    return curve


def _intervals(axes: Axes, mark: Scatter | Bars, x: np.ndarray, colour: str) -> None:
    if mark.low is not None and mark.high is not None:
        axes.vlines(x, mark.low, mark.high, colors=colour, linewidth=1.2, zorder=4, rasterized=len(x) > MOST_VECTORS)


def _points(axes: Axes, mark: Scatter, look: Series) -> Any:
    x = np.asarray(mark.x, dtype=np.float64)
    many = len(x) > 200
    _intervals(axes, mark, x, look.colour)
    return axes.scatter(
        x,
        mark.y,
        s=10 if many else 26,
        c=look.colour,
        marker=style.MATPLOTLIB_MARKERS[look.marker],
        alpha=0.55 if many else 1.0,
        linewidths=0,
        zorder=5,
        rasterized=len(x) > MOST_VECTORS,
    )


def _bars(axes: Axes, mark: Bars, look: Series, place: geometry.Place) -> Any:
    x = np.asarray(mark.x, dtype=np.float64) + place.shift
    bars = axes.bar(
        x,
        mark.y,
        width=place.width,
        facecolor=(*(c / 255 for c in style.rgb(look.colour)), 0.4),
        edgecolor=look.colour,
        linewidth=0.8,
        hatch=look.pattern * 2 or None,
    )
    _intervals(axes, mark, x, look.colour)
    return bars


def _violins(axes: Axes, mark: Violin, look: Series) -> Any:
    step = geometry.step(mark.x)
    handle = None
    for at, sample in zip(mark.x, mark.samples, strict=True):
        values = np.asarray(sample, dtype=np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        drawn: Any = axes.violinplot([values], positions=[at], widths=0.8 * step, showextrema=False)
        body = drawn["bodies"][0]
        body.set(facecolor=look.colour, edgecolor=look.colour, alpha=0.3)
        handle = handle or body
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        axes.vlines(at, low, high, colors=look.colour, linewidth=3)
        axes.hlines(middle, at - 0.06 * step, at + 0.06 * step, colors=look.colour, linewidth=1.6)
        if values.size <= geometry.MARKED_POINTS:
            spread = np.linspace(-0.1, 0.1, values.size) * step
            marker = style.MATPLOTLIB_MARKERS[look.marker]
            axes.scatter(at + spread, values, s=5, c=look.colour, marker=marker, alpha=0.7, linewidths=0)
    return handle
