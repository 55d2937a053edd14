"""Draws a figure with matplotlib: for paper, for files, and where no script may run."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import budget, geometry, style
from .matplotlib_marks import draw_mark
from .spec import Axis, FigureSpec, Heatmap, Panel, Tokens
from .text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

INCH = 110.0
"""Pixels of the interactive figure on one inch of paper."""
PAPER, ABOVE = "paper", "title-above-"
"""Names in the SVG of the paper, and of the title; after the second stands where it ends, in points from the top."""
LOCK = threading.RLock()
"""matplotlib's settings belong to the whole process; one drawing at a time changes them."""


def settings(theme: str = "light", text: str = "none") -> Any:
    """matplotlib's settings for every drawing; `text` is svg.fonttype, `none` for text or `path` for shapes."""
    return {
        "font.family": ["sans-serif"],
        "font.sans-serif": ["Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
        "font.monospace": ["Menlo", "Consolas", "DejaVu Sans Mono"],
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "axes.edgecolor": style.QUIET[theme],
        "axes.labelcolor": style.INK[theme],
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "figure.autolayout": False,
        "figure.constrained_layout.use": False,
        "figure.facecolor": style.PAPER[theme],
        "grid.color": style.GRID[theme],
        "grid.linewidth": 0.7,
        "hatch.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "text.color": style.INK[theme],
        "xtick.color": style.QUIET[theme],
        "ytick.color": style.QUIET[theme],
        "xtick.labelcolor": style.INK[theme],
        "ytick.labelcolor": style.INK[theme],
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "text.parse_math": False,
        "text.usetex": False,
        "svg.hashsalt": "workbench",
        "svg.fonttype": text,
    }


@contextmanager
def _painting(theme: str, text: str = "none") -> Iterator[None]:
    """Settings in force for one drawing; signs that the font lacks are drawn as boxes without a warning."""
    import matplotlib as mpl

    with LOCK, mpl.rc_context(settings(theme, text)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def draw(figure: FigureSpec, theme: str = "light", title: bool = True) -> Drawing:
    """The static figure; `theme` is light or dark, `title` whether the figure's title is written on it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    budget.check(figure)
    with _painting(theme):
        columns = max(1, min(figure.columns, len(figure.panels)))
        rows = -(-len(figure.panels) // columns)
        panels = [figure.panels[r * columns : (r + 1) * columns] for r in range(rows)]
        shares = [geometry.panel_share(panel, columns) for panel in figure.panels]
        inner = [max(geometry.panel_height(panel) for panel in row) for row in panels]
        around = [
            max(geometry.room_below(panel, columns) for panel in row) + 26 * any(panel.title for panel in row)
            for row in panels
        ]
        looks = geometry.series(figure)
        legend, across = _legend(figure, looks)
        size = (geometry.WIDTH / INCH, (sum(inner) + sum(around) + 34 * title + 24 * -(-legend // across)) / INCH)
        drawing = Drawing(figsize=size, layout="constrained")
        FigureCanvasAgg(drawing)
        heading = None
        if title:
            heading = drawing.suptitle(figure.title, x=0.01, ha="left", fontsize=11, fontweight="bold", wrap=True)
        # A panel that does not use its whole column lies in a grid of its own, which also holds what is around it;
        # without one, the plotting areas of all panels are aligned.
        nested = min(shares) < 1
        ratios = [a + b for a, b in zip(inner, around, strict=True)] if nested else inner
        grid = drawing.add_gridspec(rows, columns, height_ratios=ratios)
        handles: dict[str, Any] = {}
        for p, panel in enumerate(figure.panels):
            cell = grid[p // columns, p % columns]
            if nested:
                cell = cell.subgridspec(1, 2, width_ratios=[shares[p], max(1 - shares[p], 1e-3)])[0]
            axes = drawing.add_subplot(cell)
            _prepare(axes, panel, columns)
            for m in range(len(panel.marks)):
                look = looks.get((p, m))
                handle = draw_mark(axes, panel, m, look)
                if look is not None and look.in_legend and handle is not None:
                    handles[shorten(panel.marks[m].label, geometry.LONGEST_LABEL)] = handle
            _finish(axes, panel, columns)
        if handles:
            drawing.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=across)
        _settle(drawing)
        drawing.patch.set_gid(PAPER)
        if heading is not None:
            below = heading.get_window_extent().y0 / drawing.dpi
            heading.set_gid(f"{ABOVE}{72 * (drawing.get_figheight() - below):.1f}")
    return drawing


def _settle(drawing: Drawing) -> None:
    """Lay out once and round: the solver's last digits differ from one call to the next, and so would the files."""
    engine = drawing.get_layout_engine()
    if engine is not None:
        engine.execute(drawing)
    drawing.set_layout_engine(None)  # "none" would leave one that does nothing, for which each file is drawn twice
    for axes in drawing.axes:
        left, low, width, height = (round(float(end), 6) for end in axes.get_position(original=True).bounds)
        axes.set_position((left, low, width, height))
    for text in drawing.texts:
        x, y = text.get_position()
        text.set_position((round(float(x), 6), round(float(y), 6)))


def _legend(figure: FigureSpec, looks: dict[tuple[int, int], geometry.Series]) -> tuple[int, int]:
    """How many entries the legend has, and how many of them fit side by side."""
    labels = [figure.panels[p].marks[m].label for (p, m), look in looks.items() if look.in_legend]
    widest = max((7 * len(shorten(label, geometry.LONGEST_LABEL)) + 50 for label in labels), default=1)
    return len(labels), max(1, min(len(labels), 4, geometry.WIDTH // widest))


def _prepare(axes: Axes, panel: Panel, columns: int) -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    if panel.title:
        axes.set_title("\n".join(geometry.level(panel.title, panel, columns)))
    axes.set_xlabel("\n".join(geometry.level(panel.x.label, panel, columns)))
    axes.set_ylabel("\n".join(geometry.upright(panel.y.label, panel)))
    if panel.x.log:
        axes.set_xscale("log")
    if panel.y.log:
        axes.set_yscale("log")
    for axis, own in ((axes.xaxis, panel.x), (axes.yaxis, panel.y)):
        if own.log:
            # Powers as plain numbers: formulas are off here, so that a token's dollar signs stay what they are.
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    if any(isinstance(mark, Tokens) for mark in panel.marks):
        axes.set_axis_off()
    elif any(isinstance(mark, Heatmap) for mark in panel.marks):
        axes.spines[:].set_visible(False)
    else:
        axes.grid(True)


def _finish(axes: Axes, panel: Panel, columns: int) -> None:
    if any(isinstance(mark, Tokens) for mark in panel.marks):
        axes.set_xlim(0, geometry.TOKEN_COLUMNS)
        axes.autoscale(axis="y")
        axes.margins(y=0)
        axes.invert_yaxis()
        return
    for way, axis in (("x", panel.x), ("y", panel.y)):
        _ticks(axes, way, axis, panel, columns)


def _ticks(axes: Axes, way: str, axis: Axis, panel: Panel, columns: int) -> None:
    from matplotlib.ticker import NullLocator

    drawn = axes.xaxis if way == "x" else axes.yaxis
    if axis.ticks is not None:
        drawn.set_minor_locator(NullLocator())
        labels = axis.tick_labels if axis.tick_labels is not None else [f"{tick:g}" for tick in axis.ticks]
        shown = [shorten(label, geometry.LONGEST_TICK) for label in labels]
        turn: dict[str, Any] = {}
        if way == "x" and geometry.crowded(panel, columns):
            turn = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
        drawn.set_ticks(list(axis.ticks), labels=shown, **turn)
    elif (ticks := geometry.counting_ticks(panel, way)) is not None:
        drawn.set_ticks(ticks)
    if axis.limits is not None:
        (axes.set_xlim if way == "x" else axes.set_ylim)(*axis.limits)
    if axis.reversed:
        (axes.invert_xaxis if way == "x" else axes.invert_yaxis)()


def svg(
    figure: FigureSpec, theme: str = "light", title: bool = True, text: str = "none", transparent: bool = False
) -> str:
    """The static figure as SVG, the same bytes for the same figure; `transparent` leaves out the paper."""
    with _painting(theme, text):
        return _svg(draw(figure, theme, title), transparent)


def png(figure: FigureSpec, theme: str = "light", title: bool = True, dpi: int = 160) -> bytes:
    """The static figure as PNG, the same bytes for the same figure on the same matplotlib."""
    with _painting(theme):
        return _png(draw(figure, theme, title), dpi)


def svg_and_png(figure: FigureSpec, dpi: int = 160) -> tuple[str, bytes]:
    """What `svg` and `png` give, from one drawing."""
    with _painting("light"):
        drawing = draw(figure)
        return _svg(drawing, False), _png(drawing, dpi)


def _svg(drawing: Drawing, transparent: bool) -> str:
    buffer = io.StringIO()
    # Rasterized marks become images of 200 dots an inch; the rest has no resolution.
    drawing.savefig(buffer, format="svg", dpi=200, transparent=transparent, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _png(drawing: Drawing, dpi: int) -> bytes:
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
