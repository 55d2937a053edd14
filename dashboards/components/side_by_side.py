"""Runs beside each other: what differs in how they were made, their headlines on one scale, and their figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...errors import WorkbenchError
from ...records import comparison
from ...reports.overview import side_by_side
from ...runs.run import Run
from .export import snippet
from .figure_card import FigureCard, broken
from .templates import html_pane

SIDE = {"flex": "1 1 400px", "min-width": "0"}


def facts(shown: Sequence[Run]) -> pn.pane.HTML:
    """What was found in each run, the headlines of all, and what differs in how they were made."""
    records = [run.typed_record for run in shown]
    differing = comparison.compare(records)
    tables = [
        (part.capitalize(), [(one.name, one.texts) for one in differing.differences if one.part == part])
        for part in comparison.PARTS
    ]
    return html_pane(
        "compare_facts.html",
        records=records,
        tables=tables,
        letters=_letters(shown),
        quoted=side_by_side(_letters(shown), [run.record for run in shown]),
        differences=differing["headlines"],
    )


def figures(shown: Sequence[Run], names: Iterable[str]) -> list[Any]:
    """The figures of these names, each a row with that of every run."""
    rows = []
    for name in names:
        row = [figure(run, name, letter) for run, letter in zip(shown, _letters(shown), strict=True)]
        rows.append(pmu.FlexBox(*row, gap="24px", align_items="start", sizing_mode="stretch_width"))
    return rows


def _letters(shown: Sequence[Run]) -> list[str]:
    return [f"run {i}" for i in range(1, len(shown) + 1)]


def figure(run: Run, name: str, letter: str = "") -> Any:
    """One figure of a run, or why it is not there."""
    if name not in list(run.figures):
        return pn.Column(html_pane("no_figure.html", letter=letter, name=name), styles=SIDE)
    try:
        card = FigureCard(run.figures[name], lambda: snippet(run, name), before=letter)
    except WorkbenchError as error:
        return pn.Column(broken(name, error), styles=SIDE)
    return pn.Column(card.panel, styles=SIDE)
