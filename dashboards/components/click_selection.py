"""From a click on a figure to what it chooses, by the figure's own words: labels of axes and names of points."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...figures import Axis, Figure, Heatmap, Panel, Scatter
from ...probe.explore import SelectableDim

_HEAD = re.compile(r"(\d+)\.(\d+)\Z")


def chosen_by(figure: Figure, event: Any, coordinates: Sequence[SelectableDim], drawn: Any) -> dict[str, int]:
    """What a click chooses; nothing if it says nothing of a coordinate.

    `event` is what the browser tells of the click, `drawn` what Plotly draws.
    """
    point = point_of(event)
    if point is None or not 0 <= point["curveNumber"] < len(drawn["data"]):
        return {}
    number = drawn["data"][point["curveNumber"]]["xaxis"].removeprefix("x") or "1"
    place = int(number) - 1
    if not 0 <= place < len(figure.panels):
        return {}
    return selection_at(
        figure.panels[place], float(point["x"]), float(point["y"]), coordinates, point.get("pointNumber")
    )


def selection_at(
    panel: Panel, x: float, y: float, coordinates: Sequence[SelectableDim], number: Any = None
) -> dict[str, int]:
    """What the place `(x, y)` of a panel chooses; of points that lie there together, the one of this number."""
    known = {each.name: each for each in coordinates}
    found = {}
    for axis, value in ((panel.x, x), (panel.y, y)):
        name = _word(axis)
        if name in known:
            found[name] = min(known[name].values, key=lambda one: abs(one - value))
    named = {"layer", "head"} <= known.keys() and not found.keys() & {"layer", "head"}
    heads = list(_heads_at(panel, x, y)) if named else []
    if heads:
        _, layer, head = next((one for one in heads if one[0] == number), heads[0])
        return found | {"layer": layer, "head": head}
    return found


def _heads_at(panel: Panel, x: float, y: float) -> Iterator[tuple[int, int, int]]:
    """Number, layer and head of every point at a place that is named after a head."""
    for mark in panel.marks:
        if isinstance(mark, Scatter) and mark.names is not None:
            for number, (px, py, name) in enumerate(zip(mark.x, mark.y, mark.names, strict=True)):
                if np.isclose(px, x) and np.isclose(py, y) and (named := _HEAD.match(name)):
                    yield number, int(named[1]), int(named[2])


def linked_dims(figure: Figure, coordinates: Sequence[SelectableDim]) -> list[str]:
    """The coordinates that clicks on a figure can choose."""
    known = [each.name for each in coordinates]
    named = {_word(axis) for panel in figure.panels for axis in (panel.x, panel.y)}
    if any(
        isinstance(mark, Scatter) and any(_HEAD.match(name) for name in mark.names or ())
        for panel in figure.panels
        for mark in panel.marks
    ):
        named |= {"layer", "head"}
    return [name for name in known if name in named]


def chosen_cells(figure: Figure, chosen: Mapping[str, int]) -> list[tuple[int, int, int]]:
    """Panel, x and y of the chosen cell in every grid over two chosen coordinates."""
    found = []
    for place, panel in enumerate(figure.panels):
        x, y = _word(panel.x), _word(panel.y)
        if x in chosen and y in chosen and any(isinstance(mark, Heatmap) for mark in panel.marks):
            found.append((place, chosen[x], chosen[y]))
    return found


def outline_selection(figure: Figure, drawn: Any, chosen: Mapping[str, int]) -> None:
    """Draw a border around these cells."""
    for place, x, y in chosen_cells(figure, chosen):
        number = "" if place == 0 else str(place + 1)
        box = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
        for colour, width in (("#ffffff", 5), ("#d55e00", 3)):
            refs = {"xref": f"x{number}", "yref": f"y{number}", "line": {"color": colour, "width": width}}
            drawn["layout"]["shapes"].append({"type": "rect"} | refs | box)


def _word(axis: Axis) -> str:
    return axis.label.split(" (")[0].strip()


def point_of(event: Any) -> dict[str, Any] | None:
    """What a browser tells of a click, if it holds the numbers of a point."""
    if not isinstance(event, dict):
        return None
    numbers = [event.get(name) for name in ("curveNumber", "x", "y")]
    return event if all(isinstance(one, int | float) and np.isfinite(one) for one in numbers) else None
