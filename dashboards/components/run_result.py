"""What came of a run, on the page that asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import WorkbenchError
from ...records import store
from ...reports import headlines
from ...runs.run import Run
from . import side_by_side
from .templates import html_pane


def run_result(folder: Path, against: str = "") -> list[Any]:
    """The summary, headlines and first figure of a run, beside those of another of the same folder if one is named."""
    try:
        run = Run(folder)
        earlier, wrong = _earlier(folder, against)
        compared, quoted = earlier and earlier.id, headlines.quoted(run.record)
        shown: list[Any] = [
            html_pane("outcome.html", run=run.id, summary=run.summary, headlines=quoted, against=compared)
        ]
        names = list(run.figures)[:1]
        if earlier is not None:
            return [*shown, side_by_side.facts([earlier, run]), *side_by_side.figures([earlier, run], names)]
        if wrong:
            shown.append(html_pane("wrong.html", wrong=wrong))
        return [*shown, *(side_by_side.figure(run, name) for name in names)]
    except WorkbenchError as error:
        return [html_pane("wrong.html", wrong=str(error))]


def _earlier(folder: Path, against: str) -> tuple[Run | None, str]:
    """The run to be compared with, or why it cannot be read."""
    if not against or against == folder.name:
        return None, ""
    try:
        if store.has_run(folder.parent, against):
            return Run(folder.parent / against), ""
        return None, f"It is not compared: there is no run {against} in this folder any more."
    except WorkbenchError as error:
        return None, f"It is not compared: {error}"
