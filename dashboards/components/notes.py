"""The notes of a run on its page: those that are there, and a way to add one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...errors import WorkbenchError
from ...records import notes
from .templates import html_pane, render
from .text_inputs import TextArea


class RunNotes:
    """What was written about a run; no model is needed to read or write it."""

    def __init__(self, folder: Path, writable: bool) -> None:
        self._folder = folder
        self.there: list[notes.Note] = []
        self._listed = html_pane("notes.html", notes=[])
        self._said = html_pane("wrong.html", wrong="")
        self._text = TextArea(
            label="Note",
            rows=2,
            # a longer text would be cut without a word
            max_length=10 * notes.LONGEST,
            helper_text=f"At most {notes.LONGEST_NOTE:,} characters.",
            sizing_mode="stretch_width",
            styles={"max-width": "46rem"},
        )
        self._button = pmu.Button(label="Add note", variant="outlined")
        self._button.on_click(lambda event: self._add())
        adding = [self._text, self._said, self._button] if writable else []
        self.panel = pn.Column(html_pane("notes_heading.html"), self._listed, *adding, sizing_mode="stretch_width")
        self._list()

    def _add(self) -> None:
        try:
            notes.add(self._folder, self._text.value_input or "")
        except WorkbenchError as error:
            self._say(error)
            return
        self._text.put("")
        self._said.object = render("wrong.html", wrong="")
        self._list()

    def _list(self) -> None:
        try:
            self.there = notes.each(self._folder)
            self._listed.object = render("notes.html", notes=self.there)
        except WorkbenchError as error:
            self._say(error)

    def _say(self, error: WorkbenchError) -> None:
        said = str(error)
        self._said.object = render("wrong.html", wrong=f"{said[:1].upper()}{said[1:]}.")


def parts(folder: Path, writable: bool) -> list[Any]:
    """The section of the notes; nothing where there are none and none can be added."""
    made = RunNotes(folder, writable)
    return [made.panel] if writable or made.there else []
