"""What is chosen on a page: set by widgets, by clicks on figures and by the page's address, and written back to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import panel as pn
import panel_material_ui as pmu

from ...figures.text import escape_control, shorten
from ...probe.explore import SelectableDim, span
from .templates import html_pane, render

MOST = 50
_ARROW = "%3Csvg xmlns='http://www.w3.org/2000/svg' width='10' height='6'%3E%3Cpath d='M0 0h10L5 6z' fill='%237f868d'/"
LIST = f"""
select.bk-input:not([multiple]) {{ background: no-repeat right 8px center / 10px 6px
  url("data:image/svg+xml,{_ARROW}%3E%3C/svg%3E") !important; }}
option {{ color: #1a1a1a; background: #ffffff; }}
"""
"""Makes the arrow of a list, and the names in it, readable on light and on dark ground."""
NUMBER = ".bk-spin-btn { display: none !important; } .bk-input { color: inherit !important; }"
"""The buttons of a number have no name for a screen reader; its arrow keys do the same."""
NAME = "p { font-size: 12px; line-height: 1.4; margin: -6px 0 0; }"
FEW = 6
"""Values that are shown as a row of buttons."""
NAMED = 32
"""Signs of the name that stands below a number."""
LONGEST = 60
"""Signs of a wrong address that are repeated to the reader."""


class Selection:
    """One value of every coordinate, with a widget for each, and whoever wants to know of a change."""

    def __init__(self, coordinates: Sequence[SelectableDim], chosen: Mapping[str, int]) -> None:
        self.coordinates = list(coordinates)
        self.values = {each.name: int(chosen.get(each.name, each.first)) for each in coordinates}
        self.widgets = {each.name: _widget(each, self.values[each.name]) for each in coordinates}
        named = (each.name for each in coordinates if each.labels is not None)
        numbers = (name for name in named if isinstance(self.widgets[name], pn.widgets.IntInput))
        self.names = {name: html_pane("number_name.html", NAME, called="") for name in numbers}
        self._listeners: list[Callable[[], None]] = []
        self._busy = False
        for name, widget in self.widgets.items():
            # Panel waits 50 ms with any other change, and takes longer to say that it is busy than a figure takes.
            widget._priority_changes = widget._busy__ignore = ["value"]
            widget.param.watch(lambda event, name=name: self._typed(name, event.new), "value")
        self._say_names()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call this after every change."""
        self._listeners.append(listener)

    def choose(self, **values: int) -> None:
        """Choose these values; one that there is not is left out."""
        known = {each.name: each.values for each in self.coordinates}
        new = {name: int(value) for name, value in values.items() if name in known and value in known[name]}
        if all(self.values[name] == value for name, value in new.items()):
            return
        self.values |= new
        self._busy = True
        try:
            for name, value in new.items():
                self.widgets[name].value = value
        finally:
            self._busy = False
        self._say_names()
        for listener in self._listeners:
            listener()

    def control(self, name: str) -> Any:
        """The widget of a coordinate, with the name of its value below it where a number stands for one."""
        if name not in self.names:
            return self.widgets[name]
        return pn.Column(self.widgets[name], self.names[name], width=self.widgets[name].width, margin=0)

    def _say_names(self) -> None:
        """Write below every number what it stands for, where that has a name."""
        for each in self.coordinates:
            if each.name in self.names and each.labels is not None:
                called = dict(zip(each.values, each.labels, strict=True))[self.values[each.name]]
                self.names[each.name].object = render("number_name.html", called=shorten(escape_control(called), NAMED))

    def _typed(self, name: str, value: Any) -> None:
        if self._busy:
            return
        values = next(each.values for each in self.coordinates if each.name == name)
        if value in values:
            self.choose(**{name: int(value)})
        else:  # an emptied or half-typed number
            self.widgets[name].value = self.values[name]


def _widget(coordinate: SelectableDim, value: int) -> Any:
    """A widget that works by keyboard; the Material list of choices does not, it opens by a click alone."""
    values = [int(each) for each in coordinate.values]
    label = coordinate.name.replace("_", " ").capitalize()
    if coordinate.figure and coordinate.labels is not None:  # what an axis shows goes by its name, not by a number
        options = dict(zip(coordinate.labels, values, strict=True))
        return pn.widgets.Select(label=label, options=options, value=value, width=320, stylesheets=[LIST])
    several = len(values) > FEW
    if values == list(range(values[0], values[-1] + 1)) and (coordinate.labels is None or several):
        limits = {"start": values[0], "end": values[-1], "step": 1}
        width = 72 + 9 * len(str(values[-1])) if coordinate.labels is None else 200
        # The Material number takes back a change by its arrow keys when the reader goes on while the page is busy.
        return pn.widgets.IntInput(label=label, value=value, width=width, stylesheets=[NUMBER], **limits)
    names = list(coordinate.labels or map(str, values))
    if len(set(names)) < len(names) or not all(names):
        names = [f"{each} {name}".strip() for each, name in zip(values, names, strict=True)]
    options = dict(zip(names, values, strict=True))
    if several:
        return pmu.DiscreteSlider(label=label, options=options, value=value, width=320)
    return pmu.RadioBoxGroup(label=label, options=options, value=value, inline=True)


def selection_from_query(search: str, coordinates: Iterable[SelectableDim]) -> tuple[dict[str, int], list[str]]:
    """What the address of a page chooses, and what of it was left out, in words."""
    known = {each.name: each for each in coordinates}
    chosen: dict[str, int] = {}
    complaints = []
    try:
        pairs = parse_qsl(search.removeprefix("?"), keep_blank_values=True, max_num_fields=MOST)
    except ValueError:
        return {}, [f"The address asks for more than {MOST} things and was left out."]
    for name, text in pairs:
        if name not in known:
            complaints.append(f"The address names {_short(name)!r}, which this page does not know.")
        elif not re.fullmatch(r"[0-9]{1,9}", text) or int(text) not in known[name].values:
            complaints.append(
                f"The address asks for {name} {_short(text)!r}, which is not here; there is {span(known[name])}."
            )
        else:
            chosen[name] = int(text)
    return chosen, complaints


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def query_string() -> str:
    """The query part of this page's address."""
    return str(pn.state.location.search or "") if pn.state.location else ""
