"""The Plotly traces of each kind of mark, as plain dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np

from . import geometry, style
from .geometry import Series
from .spec import Bars, Heatmap, Line, Panel, ReferenceLine, Scatter, Tokens, Violin
from .text import escape_whitespace, plotly_label, plotly_text

Trace = dict[str, Any]


def traces(panel: Panel, m: int, look: Series | None, scale: dict[str, Any] | None) -> list[Trace]:
    """Traces of the panel's mark `m` without their axes; `scale` is the colour bar of a heatmap or a text."""
    mark = panel.marks[m]
    if isinstance(mark, Heatmap):
        return [*_missing(mark, panel), _heatmap(mark, panel, scale)]
    if isinstance(mark, Tokens):
        return _tokens(mark, scale)
    if isinstance(mark, ReferenceLine):
        return []  # a shape of the layout
    assert look is not None, "every other mark is a series"
    if isinstance(mark, Line):
        return _line(mark, look, panel)
    if isinstance(mark, Scatter):
        return _points(mark, look, panel)
    if isinstance(mark, Bars):
        return _bars(mark, look, panel, geometry.bar_places(panel)[m])
    if isinstance(mark, Violin):
        return _violins(mark, look)
    assert_never(mark)


def _words(panel: Panel) -> tuple[str, str]:
    """What the axes are called in the text shown on hover: their labels without the unit."""
    x, y = (plotly_text(axis.label.split(" (")[0].strip()) for axis in (panel.x, panel.y))
    return x or "x", y or "y"


def _heatmap(mark: Heatmap, panel: Panel, scale: dict[str, Any] | None) -> Trace:
    low, high = geometry.colour_limits(mark)
    x, y = _words(panel)
    return {
        "type": "heatmap",
        "z": np.asarray(mark.values, dtype=np.float32),
        "x": _floats(mark.x),
        "y": _floats(mark.y),
        "zmin": low,
        "zmax": high,
        "colorscale": style.plotly_scale(mark.scale),
        "colorbar": scale,
        "hoverongaps": False,
        "hovertemplate": f"{y} %{{y}}, {x} %{{x}}: %{{z:.3~g}}<extra></extra>",
        "name": plotly_text(mark.label),
    } | ({"texttemplate": "%{z:.2~g}"} if geometry.writes_values(mark) else {})


def _missing(mark: Heatmap, panel: Panel) -> list[Trace]:
    """Cells without a number in grey, which no scale contains as such."""
    absent = ~np.isfinite(np.asarray(mark.values, dtype=np.float64))
    if not absent.any():
        return []
    x, y = _words(panel)
    return [
        {
            "type": "heatmap",
            "z": np.where(absent, 0.0, np.nan).astype(np.float32),
            "x": _floats(mark.x),
            "y": _floats(mark.y),
            "colorscale": [[0, style.MISSING], [1, style.MISSING]],
            "showscale": False,
            "hoverongaps": False,
            "hovertemplate": f"{y} %{{y}}, {x} %{{x}}: no value<extra></extra>",
        }
    ]


def _tokens(mark: Tokens, scale: dict[str, Any] | None) -> list[Trace]:
    """Words as bars in their own colours, and an unseen point that carries the colour bar."""
    cells = geometry.token_cells(mark.tokens)
    low, high = geometry.colour_limits(mark)
    name = geometry.scale_of(mark)
    fills = geometry.token_colours(mark)
    words = {
        "type": "bar",
        "orientation": "h",
        "base": [cell.start for cell in cells],
        "x": [cell.width - geometry.TOKEN_GAP for cell in cells],
        "y": [cell.row for cell in cells],
        "width": 0.92,
        "marker": {"color": fills, "line": {"width": 0}},
        "text": [plotly_text(cell.text) for cell in cells],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "insidetextfont": {"family": style.MONO, "size": 12, "color": [style.text_on(fill) for fill in fills]},
        "customdata": [
            [i, plotly_text(escape_whitespace(token)), f"{value:.3g}"]
            for i, (token, value) in enumerate(zip(mark.tokens, mark.values, strict=True))
        ],
        "hovertemplate": "token %{customdata[0]}: %{customdata[1]}<br>"
        + f"{plotly_text(mark.label)} %{{customdata[2]}}<extra></extra>",
        "showlegend": False,
    }
    colours = {"colorscale": style.plotly_scale(name), "cmin": low, "cmax": high, "showscale": True, "colorbar": scale}
    bar = {
        "type": "scatter",
        "x": [None],
        "y": [None],
        "mode": "markers",
        "marker": {"color": [low], **colours},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [words, bar]


def _told(mark: Line | Scatter | Bars, panel: Panel) -> dict[str, Any]:
    """What hovering over a point says: its name, its place, its value with the interval, its series."""
    x, y = _words(panel)
    names = getattr(mark, "names", None)
    count = len(mark.x)
    first = (
        [f"<b>{plotly_text(n if n.strip() else escape_whitespace(n))}</b><br>" for n in names]
        if names
        else [""] * count
    )
    ends = [""] * count
    if mark.low is not None and mark.high is not None:
        ends = [f" [{low:.3g}, {high:.3g}]" for low, high in zip(mark.low, mark.high, strict=True)]
    series = f"<extra>{plotly_text(mark.label)}</extra>"
    template = f"%{{customdata[0]}}{x} %{{x}}, {y} %{{y:.3~g}}%{{customdata[1]}}{series}"
    return {"customdata": [list(pair) for pair in zip(first, ends, strict=True)], "hovertemplate": template}


def _named(mark: Line | Scatter | Bars | Violin, look: Series) -> dict[str, Any]:
    group = plotly_text(mark.label)
    return {"name": plotly_label(mark.label, geometry.LONGEST_LABEL), "showlegend": look.in_legend} | (
        {"legendgroup": group} if mark.label else {}
    )


def _floats(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _line(mark: Line, look: Series, panel: Panel) -> list[Trace]:
    width = 1.2 if mark.secondary else 2.2
    few = len(mark.x) <= geometry.MARKED_POINTS and not (mark.secondary and not mark.label)
    band = []
    if mark.low is not None and mark.high is not None:
        x = np.concatenate([_floats(mark.x), _floats(mark.x)[::-1]])
        y = np.concatenate([_floats(mark.high), _floats(mark.low)[::-1]])
        area = {"fill": "toself", "fillcolor": style.faint(look.colour, 0.18), "line": {"width": 0}}
        quiet = {"hoverinfo": "skip", "mode": "lines"} | _named(mark, look) | {"showlegend": False}
        band = [{"type": "scatter", "x": x, "y": y, **area, **quiet}]
    curve = {
        "type": "scatter",
        "x": _floats(mark.x),
        "y": _floats(mark.y),
        "mode": "lines+markers" if few else "lines",
        "line": {"color": look.colour, "width": width, "dash": look.dash},
        "opacity": 0.5 if mark.secondary and not mark.label else 1.0,
        "marker": {"symbol": look.marker, "size": 6},
        **_named(mark, look),
        **_told(mark, panel),
    }
    return [*band, curve]


def _intervals(mark: Scatter | Bars, x: np.ndarray, colour: str, group: dict[str, Any]) -> list[Trace]:
    """One trace of upright strokes from `low` to `high`, exact also where a value lies outside its interval."""
    if mark.low is None or mark.high is None:
        return []
    gap = np.full(len(x), np.nan)
    across = np.stack([x, x, gap], axis=1).ravel()
    up = np.stack([_floats(mark.low), _floats(mark.high), gap], axis=1).ravel()
    line = {"color": colour, "width": 1.6}
    strokes = {"type": "scatter", "x": across, "y": up, "mode": "lines", "line": line, "hoverinfo": "skip"}
    return [strokes | group | {"showlegend": False}]


def _points(mark: Scatter, look: Series, panel: Panel) -> list[Trace]:
    x, group = _floats(mark.x), _named(mark, look)
    size = 8 if len(x) <= 200 else 5
    drawn = {"color": look.colour, "symbol": look.marker, "size": size, "opacity": 0.55 if len(x) > 200 else 1.0}
    dots = {"type": "scatter", "x": x, "y": _floats(mark.y), "mode": "markers", "marker": drawn}
    return [*_intervals(mark, x, look.colour, group), dots | group | _told(mark, panel)]


def _bars(mark: Bars, look: Series, panel: Panel, place: geometry.Place) -> list[Trace]:
    x, group = _floats(mark.x), _named(mark, look)
    fill = {"color": style.faint(look.colour, 0.4), "line": {"color": look.colour, "width": 1}}
    bars = {
        "type": "bar",
        "x": x,
        "y": _floats(mark.y),
        "width": place.width,
        "offset": place.shift - place.width / 2,
        "marker": fill | {"pattern": {"shape": look.pattern, "fgcolor": look.colour, "size": 7, "solidity": 0.25}},
        **group,
        **_told(mark, panel),
    }
    return [bars, *_intervals(mark, x + place.shift, look.colour, group)]


def _violins(mark: Violin, look: Series) -> list[Trace]:
    drawn = []
    step = geometry.step(mark.x)
    for i, (at, sample) in enumerate(zip(mark.x, mark.samples, strict=True)):
        values = _floats(sample)
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        group = _named(mark, look)
        drawn.append(
            {
                "type": "violin",
                "x": np.full(values.size, float(at)),
                "y": values,
                "width": 0.8 * step,
                "points": "all" if values.size <= geometry.MARKED_POINTS else False,
                "pointpos": 0,
                "jitter": 0.3,
                "spanmode": "hard",
                "line": {"color": look.colour, "width": 1.2},
                "fillcolor": style.faint(look.colour, 0.25),
                "marker": {"size": 4, "color": look.colour, "symbol": look.marker},
                "meanline": {"visible": False},
                "box": {"visible": True, "width": 0.12},
                "scalemode": "width",
                **group,
                "showlegend": look.in_legend and i == 0,
            }
        )
    return drawn
