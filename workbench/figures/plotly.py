"""Draws a figure with Plotly: basic traces only, which every plotly.js from 3.1 on knows."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import budget, geometry, style
from .plotly_marks import traces
from .spec import Axis, FigureSpec, Heatmap, Panel, ReferenceLine, Tokens
from .text import plotly_label, plotly_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEAD = 28
"""Pixels for a panel's title."""
SIDE = 0.09
BAR_SIDE = 0.13


class _Place(NamedTuple):
    """Where a panel is drawn: Plotly's number of its axes and their domains."""

    number: str
    x: tuple[float, float]
    y: tuple[float, float]
    height: int


def draw(figure: FigureSpec, theme: str = "light", title: bool = True) -> go.Figure:
    """The interactive figure; `theme` is light or dark, `title` whether the figure's title is written on it."""
    import plotly.graph_objects as go

    return go.Figure(plotly_dict(figure, theme, title))


def plotly_json(drawn: Any) -> str:
    """What `described` gives, or a part of it, as JSON; no Python object of Plotly's is made on the way."""
    from plotly.utils import PlotlyJSONEncoder

    return json.dumps(drawn, cls=PlotlyJSONEncoder, default=_typed)


def _typed(values: np.ndarray) -> Any:
    """Many numbers as plotly.js reads them fastest."""
    if values.ndim == 0 or values.dtype.kind != "f":
        return values.tolist()
    size = 4 if values.itemsize <= 4 else 8
    content = base64.b64encode(np.ascontiguousarray(values, f"<f{size}").data).decode()
    shape = {} if values.ndim == 1 else {"shape": ", ".join(map(str, values.shape))}
    return {"dtype": f"f{size}", "bdata": content} | shape


def plotly_dict(figure: FigureSpec, theme: str = "light", title: bool = True) -> dict[str, Any]:
    """What Plotly draws, as plain data and layout."""
    budget.check(figure)
    top = 52 if title else 12
    looks = geometry.series(figure)
    legend = any(look.in_legend for look in looks.values())
    places, inner, below = _places(figure)
    layout: dict[str, Any] = {
        "template": style.template(theme),
        "height": inner + top + below + (34 if legend else 0),
        "margin": {"l": 64, "r": 24, "t": top + (34 if legend else 0), "b": below},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1 + 12 / inner, "yanchor": "bottom"},
        "annotations": [],
        "shapes": [],
        "hovermode": "closest",
        "bargap": 0,
    }
    if title:
        layout["title"] = {"text": plotly_text(figure.title), "font": {"size": 16}}
    data: list[Any] = []
    for p, (panel, place) in enumerate(zip(figure.panels, places, strict=True)):
        layout[f"xaxis{place.number}"] = _axis(panel.x, place.x, f"y{place.number}", panel, "x")
        layout[f"yaxis{place.number}"] = _axis(panel.y, place.y, f"x{place.number}", panel, "y")
        if panel.title:
            layout["annotations"].append(_note(panel.title, place.x[0], place.y[1] + 8 / inner, size=14))
        for m, mark in enumerate(panel.marks):
            if isinstance(mark, ReferenceLine):
                _rule(mark, place, layout)
            if isinstance(mark, Heatmap):
                layout["shapes"] += _outlines(mark, place)
            scale = _bar_of_scale(mark, panel, place) if isinstance(mark, Heatmap | Tokens) else None
            for trace in traces(panel, m, looks.get((p, m)), scale):
                data.append(trace | {"xaxis": f"x{place.number}", "yaxis": f"y{place.number}"})
    return {"data": data, "layout": layout}


def _places(figure: FigureSpec) -> tuple[list[_Place], int, int]:
    """Domains of all panels, the height in pixels of the area they share, and the room below it."""
    columns = max(1, min(figure.columns, len(figure.panels)))
    rows = [list(figure.panels[i : i + columns]) for i in range(0, len(figure.panels), columns)]
    heights = [max(geometry.panel_height(panel) for panel in row) for row in rows]
    heads = [HEAD if any(panel.title for panel in row) else 0 for row in rows]
    gaps = [max(geometry.room_below(panel, columns) for panel in row) for row in rows]
    inner = sum(heights) + sum(heads) + sum(gaps[:-1])
    width = (1 - SIDE * (columns - 1)) / columns
    places: list[_Place] = []
    from_top = 0
    for r, row in enumerate(rows):
        from_top += heads[r]
        bottom = max(0.0, 1 - (from_top + heights[r]) / inner)
        for c, panel in enumerate(row):
            left = c * (width + SIDE)
            side = BAR_SIDE if _has_scale(panel) else 0.0
            right = left + (width - side) * geometry.panel_share(panel, columns)
            number = str(len(places) + 1) if places else ""
            places.append(_Place(number, (left, min(right, 1.0)), (bottom, 1 - from_top / inner), heights[r]))
        from_top += heights[r] + gaps[r]
    return places, inner, gaps[-1]


def _has_scale(panel: Panel) -> bool:
    return any(isinstance(mark, Heatmap | Tokens) for mark in panel.marks)


def _axis(axis: Axis, domain: tuple[float, float], anchor: str, panel: Panel, way: str) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "domain": list(domain),
        "anchor": anchor,
        "title": {
            "text": _upright(axis.label, panel) if way == "y" else plotly_label(axis.label, geometry.LONGEST_LABEL)
        },
        "showgrid": not _has_scale(panel),
        "zeroline": False,
        "showline": not _has_scale(panel),
        "ticks": "outside",
        "ticklen": 4,
    }
    if any(isinstance(mark, Tokens) for mark in panel.marks):
        drawn |= {"visible": False, "fixedrange": True}
        return drawn | ({"range": [0, geometry.TOKEN_COLUMNS]} if way == "x" else {"autorange": "reversed"})
    if axis.log:
        drawn["type"] = "log"
    if axis.ticks is not None:
        drawn |= {"tickmode": "array", "tickvals": list(axis.ticks)}
        if axis.tick_labels is not None:
            drawn["ticktext"] = [plotly_label(label, geometry.LONGEST_TICK) for label in axis.tick_labels]
    elif (ticks := geometry.counting_ticks(panel, way)) is not None:
        drawn |= {"tickmode": "array", "tickvals": ticks}
    if axis.limits is not None:
        ends = [float(np.log10(v)) if axis.log else float(v) for v in axis.limits]
        drawn["range"] = ends[::-1] if axis.reversed else ends
    elif axis.reversed:
        drawn["autorange"] = "reversed"
    return drawn


def _upright(label: str, panel: Panel) -> str:
    return "<br>".join(plotly_text(line) for line in geometry.upright(label, panel))


def _note(text: str, x: float, y: float, size: int = 12, **more: Any) -> dict[str, Any]:
    note = {
        "text": plotly_label(text, geometry.LONGEST_LABEL),
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
    }
    return note | {"xanchor": "left", "yanchor": "bottom", "font": {"size": size}} | more


def _bar_of_scale(mark: Heatmap | Tokens, panel: Panel, place: _Place) -> dict[str, Any]:
    return {
        "title": {"text": _upright(mark.label, panel), "side": "right", "font": {"size": 12}},
        "thickness": 12,
        "outlinewidth": 0,
        "x": place.x[1] + 0.012,
        "xanchor": "left",
        "y": (place.y[0] + place.y[1]) / 2,
        "len": max(place.height, 80),
        "lenmode": "pixels",
        "ypad": 0,
        "tickfont": {"size": 11},
    }


def _outlines(mark: Heatmap, place: _Place) -> list[dict[str, Any]]:
    """Borders in white under black, which stand out on every colour of the scale."""
    shapes = []
    for cell in mark.outlined:
        left, right, lower, upper = geometry.outline(mark, cell)
        for colour, width in (("#ffffff", 4), ("#000000", 1.8)):
            shapes.append(
                {"type": "rect", "xref": f"x{place.number}", "yref": f"y{place.number}"}
                | {"x0": left, "x1": right, "y0": lower, "y1": upper, "line": {"color": colour, "width": width}}
            )
    return shapes


def _rule(mark: ReferenceLine, place: _Place, layout: dict[str, Any]) -> None:
    across = mark.across == "y"
    x, y = f"x{place.number}", f"y{place.number}"
    ends = {"x0": 0, "x1": 1, "y0": mark.at, "y1": mark.at} if across else {"y0": 0, "y1": 1, "x0": mark.at}
    refs = {"xref": f"{x} domain", "yref": y} if across else {"xref": x, "yref": f"{y} domain"}
    line = {"color": style.MUTED, "width": 1.4, "dash": "dash"}
    layout["shapes"].append({"type": "line", "line": line, "layer": "below"} | {"x1": mark.at} | refs | ends)
    if mark.label:
        spot = {"x": 1, "y": mark.at, "xanchor": "right"} if across else {"x": mark.at, "y": 1, "yanchor": "top"}
        layout["annotations"].append(_note(mark.label, 0, 0, size=11) | refs | spot)
