"""From a click on a figure to what it chooses, by the dimensions that its axes and its points name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...figures import Figure, Heatmap, Panel, Scatter
from ...probe.explore import SelectableDim


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
        if axis.dim in known:
            found[axis.dim] = min(known[axis.dim].values, key=lambda one: abs(one - value))
    points = list(_points_at(panel, x, y))
    if points:
        _, chosen = next((one for one in points if one[0] == number), points[0])
        found = {name: value for name, value in chosen.items() if name in known} | found
    return found


def _points_at(panel: Panel, x: float, y: float) -> Iterator[tuple[int, dict[str, int]]]:
    """Number and dimensions of every point at a place that stands for values of dimensions."""
    for mark in panel.marks:
        if isinstance(mark, Scatter) and mark.dims:
            for number, (px, py) in enumerate(zip(mark.x, mark.y, strict=True)):
                if np.isclose(px, x) and np.isclose(py, y):
                    yield number, {name: int(values[number]) for name, values in mark.dims.items()}


def linked_dims(figure: Figure, coordinates: Sequence[SelectableDim]) -> list[str]:
    """The coordinates that clicks on a figure can choose."""
    named = {axis.dim for panel in figure.panels for axis in (panel.x, panel.y)}
    for panel in figure.panels:
        named.update(*(mark.dims for mark in panel.marks if isinstance(mark, Scatter)))
    return [each.name for each in coordinates if each.name in named]


def chosen_cells(figure: Figure, chosen: Mapping[str, int]) -> list[tuple[int, int, int]]:
    """Panel, x and y of the chosen cell in every grid over two chosen coordinates."""
    found = []
    for place, panel in enumerate(figure.panels):
        x, y = panel.x.dim, panel.y.dim
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


def point_of(event: Any) -> dict[str, Any] | None:
    """What a browser tells of a click, if it holds the numbers of a point."""
    if not isinstance(event, dict):
        return None
    numbers = [event.get(name) for name in ("curveNumber", "x", "y")]
    return event if all(isinstance(one, int | float) and np.isfinite(one) for one in numbers) else None
