"""The part of a run's page that looks closer: what is chosen, the figures of the choice, and the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...errors import WorkbenchError
from ...figures import Figure
from ...probe.explore import Details, SelectableDim
from ...runs.run import Run
from . import token_view
from .click_selection import chosen_by, chosen_cells, linked_dims, outline_selection
from .export import snippet
from .figure_card import FigureCard
from .selection import Selection, query_string, selection_from_query
from .templates import html_pane, render
from .token_view import TokenView
from .url_state import UrlState

SENT = 20
"""Milliseconds that a picture has to leave before the server does anything else."""
SETTLED = 150
"""Milliseconds without another choice after which everything that follows a choice is drawn."""


class DrilldownView:
    """Everything on the page that follows the choice; raises `WorkbenchError` if the run's data cannot be drawn."""

    def __init__(self, run: Run, search: str | None = None) -> None:
        self.run = run
        self.coordinates = run.coordinates
        search = query_string() if search is None else search
        asked, _ = selection_from_query(search, self.coordinates)
        self.details = run.details(**asked) if self.coordinates else Details()
        text = self.details.text
        everything = [*self.coordinates, *(token_view.coordinates(text) if text is not None else [])]
        asked, self.complaints = selection_from_query(search, everything)
        self.choice = Selection(everything, asked)
        self.address = UrlState(search, self._returned)
        self._returning = False
        self.overview: list[FigureCard] = []
        self.cards = {figure.name: self._card(figure) for figure in self.details.figures}
        self.note = html_pane("note.html", note=self.details.note)
        self.tables = {table.name: html_pane("details_table.html", table=table) for table in self.details.tables}
        self._shown = self.asked
        self.choice.on_change(self._changed)

    @cached_property
    def explorer(self) -> TokenView | None:
        """The text as tokens, if the run has it; made when the page has room for it."""
        text = self.details.text
        return TokenView(text, self.choice, self._text_snippet()) if text is not None else None

    @property
    def asked(self) -> dict[str, int]:
        """The chosen values of what the probe offers."""
        return {each.name: self.choice.values[each.name] for each in self.coordinates}

    @property
    def controls(self) -> Any:
        """A widget for each thing that the probe lets one choose, but for what stands beside a figure."""
        return pmu.FlexBox(*self._widgets(lambda each: each.figure not in self.cards), align_items="flex-start")

    def _widgets(self, wanted: Callable[[SelectableDim], bool]) -> list[Any]:
        return [self.choice.control(each.name) for each in self.coordinates if wanted(each)]

    def overview_card(self, figure: Figure) -> FigureCard:
        """A figure of the whole run, on which clicks choose."""
        named = linked_dims(figure, self.coordinates)
        hint = f"Click to choose: {' and '.join(named)}." if named else ""
        card = FigureCard(figure, lambda: snippet(self.run, figure.name), self._clicked, self._decorate, hint)
        self.overview.append(card)
        return card

    def _card(self, figure: Figure) -> FigureCard:
        named = linked_dims(figure, self.coordinates)
        hint = f"Click to choose: {' and '.join(named)}." if named else ""
        return FigureCard(
            figure,
            lambda: snippet(self.run, figure.name, self.asked),
            self._clicked,
            hint=hint,
            controls=self._widgets(lambda each: each.figure == figure.name),
            later=True,
        )

    def _text_snippet(self) -> str:
        asked = ", ".join(f"{name}={value}" for name, value in self.asked.items())
        opened = f"run = wb.open({str(self.run.folder)!r})"
        return f"import workbench as wb\n\n{opened}\ntext = run.details({asked}).text"

    def _clicked(self, figure: Figure, event: Any, drawn: Any) -> None:
        self.choice.choose(**chosen_by(figure, event, self.coordinates, drawn))

    def _decorate(self, figure: Figure, drawn: Any) -> None:
        outline_selection(figure, drawn, self.asked)

    def _changed(self) -> None:
        if self.asked != self._shown:
            self._shown = self.asked
            self._show_details()
        else:
            self._show_text()
        if not self._returning:
            self.address.write(self.choice.values)

    def _returned(self, search: str) -> None:
        """Show what the address says now, without a new entry in the browser's history."""
        asked, _ = selection_from_query(search, self.choice.coordinates)
        self._returning = True
        try:
            self.choice.choose(**{each.name: each.first for each in self.choice.coordinates} | asked)
        finally:
            self._returning = False

    def _show_details(self) -> None:
        try:
            self.details = self.run.details(**self.asked)
        except WorkbenchError as error:
            self.note.object = render("note.html", note=str(error))
            return
        first = next(filter(self._stale, self.cards), None)
        if first is not None:
            self._show_picture(first)
        _soon(partial(self._follow, first), SENT)
        _soon(partial(self._show_rest, self.details, list(self.cards)), SETTLED)

    def _stale(self, name: str) -> bool:
        card = self.cards[name]
        if name not in self.details.by_name:
            return bool(card.panel.visible)
        return card.figure.to_json() != self.details[name].to_json() or not card.panel.visible

    def _show_picture(self, name: str) -> None:
        card = self.cards[name]
        if name in self.details.by_name:
            card.picture(self.details[name])
        card.panel.visible = name in self.details.by_name

    def _follow(self, name: str | None) -> None:
        """Show the words of the figure that was drawn at once, and what else is said of the choice."""
        if name is not None:
            self.cards[name].say()
        self.note.object = render("note.html", note=self.details.note)
        for table in self.details.tables:
            self.tables[table.name].object = render("details_table.html", table=table)
        for card in self.overview:
            if chosen_cells(card.figure, self.asked):
                card.redraw()

    def _show_rest(self, details: Details, names: Sequence[str]) -> None:
        """Show one of these figures and the others in later turns, until another choice comes in between."""
        if details is not self.details:
            return
        if not names:
            self._show_text()
            return
        if self._stale(names[0]):
            self._show_picture(names[0])
            self.cards[names[0]].say()
        _soon(partial(self._show_rest, details, names[1:]), 0)

    def _show_text(self) -> None:
        if self.explorer is not None and self.details.text is not None:
            self.explorer.show(self.details.text)


def _soon(call: Callable[[], None], wait: int) -> None:
    """Call this in so many milliseconds, or at once where no browser waits."""
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        call()
    else:
        document.add_timeout_callback(call, wait)
