"""One figure on a page: its words, the interactive picture, its numbers as a table, and how to take it away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...errors import WorkbenchError
from ...figures import Figure
from ...figures.plotly import plotly_dict
from .export import download_csv
from .plotly_pane import PlotlyPane
from .templates import html_pane, render

WHOLE, EXCERPT = 300, 50
"""A table of so many rows is on the page whole; of a longer one only its beginning, and the CSV has all of it."""


class FigureCard:
    """A figure that can be drawn again in place.

    `snippet` gives the lines of Python for the figure that is shown, `clicked` is told of clicks on it with what Plotly
    says of them, and `decorate` may draw on it. `controls` stand above the drawing. With `later` there are only words
    until the browser has the rest of the page.
    """

    def __init__(
        self,
        figure: Figure,
        snippet: Callable[[], str],
        clicked: Callable[[Figure, Any, Any], None] | None = None,
        decorate: Callable[[Figure, Any], Any] | None = None,
        hint: str = "",
        before: str = "",
        level: int = 3,
        controls: Sequence[Any] = (),
        later: bool = False,
    ) -> None:
        self._snippet, self._decorate = snippet, decorate
        self._around = {"hint": hint, "before": before, "level": level}
        self.figure = figure
        self.words = html_pane("figure.html", **self._words())
        self._told = None if clicked is None else lambda event: clicked(self.figure, event, self._drawn)
        self._drawn: Any = None
        self.plot: PlotlyPane | None = None
        self.table: Any = None
        self._below = pn.Column(sizing_mode="stretch_width")
        above = [pmu.FlexBox(*controls, align_items="center")] if controls else []
        self.panel = pn.Column(self.words, *above, self._below, sizing_mode="stretch_width")
        if later:
            pn.state.onload(self._fill)
        else:
            self._fill()

    def _fill(self) -> None:
        self._drawn = self._draw()
        self.plot = PlotlyPane(self._drawn, self.figure.alt, self._told)
        self.table = html_pane("figure_data.html", **self._table())
        csv = download_csv(lambda: self.figure, self.figure.name)
        self._below.objects = [self.plot, pn.Row(self.table, csv, sizing_mode="stretch_width")]

    def show(self, figure: Figure) -> None:
        """Show another figure in the same place."""
        self.picture(figure)
        self.say()

    def picture(self, figure: Figure) -> None:
        """Draw another figure; words and numbers stay those of the one before until `say`."""
        self.figure = figure
        self.redraw()

    def say(self) -> None:
        """Show the words and the numbers of the figure."""
        self.words.object = render("figure.html", **self._words())
        if self.table is not None:
            self.table.object = render("figure_data.html", **self._table())

    def redraw(self) -> None:
        """Draw what lies on the figure again."""
        if self.plot is not None:
            self._drawn = self._draw()
            self.plot.draw(self._drawn, self.figure.alt)

    def _draw(self) -> Any:
        drawn = plotly_dict(self.figure, title=False)
        if self._decorate is not None:
            self._decorate(self.figure, drawn)
        return drawn

    def _words(self) -> dict[str, Any]:
        return {"figure": self.figure, **self._around}

    def _table(self) -> dict[str, Any]:
        data = self.figure.data
        shown = data if len(data) <= WHOLE else data.head(EXCERPT)
        return {"figure": self.figure, "table": shown, "rows": len(data), "snippet": self._snippet()}


def broken(name: str, error: WorkbenchError) -> Any:
    """What stands in the place of a figure that cannot be read."""
    return html_pane("broken.html", name=name, reason=str(error))
