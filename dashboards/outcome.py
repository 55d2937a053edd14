"""What came of a run, on the page that asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel as pn

from ..errors import WorkbenchError
from ..runs import Run
from .fragments import fragment
from .pages import COMPARE, SAVED


def outcome(folder: Path, against: str = "") -> list[Any]:
    """The summary, headlines and first figure of a run, and the ways to its page and to a comparison with another."""
    try:
        run = Run(folder)
        compared = against if COMPARE in SAVED and against != run.id else ""
        shown: list[Any] = [fragment("outcome.html", record=run.typed_record, summary=run.summary, against=compared)]
        for name in list(run.figures)[:1]:
            figure = run.figures[name]
            shown += [
                fragment("figure.html", figure=figure),
                pn.pane.Plotly(figure.plotly(title=False), sizing_mode="stretch_width", config={"displaylogo": False}),
            ]
        return shown
    except WorkbenchError as error:
        return [fragment("wrong.html", wrong=str(error))]
