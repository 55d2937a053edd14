"""The page of one run: what was found, its figures and what lies behind them, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...errors import WorkbenchError
from ...probe.contract import Probe
from ...probe.explore import Details
from ...probe.registry import PROBES
from ...records import store
from ...reports import headlines
from ...reports.commands import rerun_command
from ...runs.run import Run
from ..components import notes
from ..components.drilldown import DrilldownView
from ..components.export import PageSnapshot, download, report, snippet, without_texts
from ..components.figure_card import FigureCard, broken
from ..components.layout import page
from ..components.selection import query_string, selection_from_query
from ..components.templates import html_pane

_OTHERS = 20
"""Runs of the same probe that are offered for comparison."""
SIDE = {"flex": "1 1 460px", "min-width": "0"}


def run_page(runs: Path, writable: bool = False) -> pmu.Page:
    """The page of the run that the address names; only ids of runs in the folder are answered.

    Notes can be added where it is `writable`.
    """
    asked = str(pn.state.route_params.get("run_id", ""))
    try:
        run, reasons = (Run(runs / asked) if store.has_run(runs, asked) else None), []
    except WorkbenchError as error:
        run, reasons = None, [str(error)]
    if run is None:
        return page("Workbench", html_pane("missing.html", asked=asked, folder=str(runs), reasons=reasons))
    others = (record for record in store.records(runs, run.typed_record.probe) if record.id != run.id)
    return page("Workbench", *_parts(run, list(islice(others, _OTHERS)), writable))


def _parts(run: Run, others: list[Any], writable: bool) -> list[pn.viewable.Viewable]:
    record = run.typed_record
    closer, complaints = _closer(run)
    parts: list[pn.viewable.Viewable] = []
    if complaints:
        parts.append(html_pane("complaints.html", complaints=complaints))
    quoted = headlines.quoted(run.record)
    probe = _probe(record.probe)
    question = probe.question if probe is not None else ""
    parts.append(html_pane("run.html", record=record, summary=run.summary, question=question, headlines=quoted))
    live = probe.live() if probe is not None else None
    if live is not None and record.id in live.sources(record.model.id, [record]).values():
        parts.append(html_pane("live_link.html", record=record, live=live))
    names = list(run.figures)
    rest: list[FigureCard] = []
    if closer is not None:
        first, rest = _closer_parts(closer, _card(run, names[0], closer))
        parts, names = parts + first, names[1:]
    elif names:
        parts += [html_pane("heading.html", title="Figures"), _panel(_card(run, names[0], closer))]
        names = names[1:]

    def made() -> list[pn.viewable.Viewable]:
        below: list[pn.viewable.Viewable] = [card.panel for card in rest]
        if closer is not None:
            below[:0] = closer.tables.values()
        if closer is not None and closer.explorer is not None:
            below.append(closer.explorer.panel)
        if closer is not None and names:
            below.append(html_pane("heading.html", title="Further figures"))
        below += [_panel(_card(run, name, closer)) for name in names]
        below += notes.parts(run.folder, writable)
        below += [html_pane("export.html", others=others, run_id=run.id), _download(run, closer)]
        whole = json.dumps(run.record, indent=2)
        return [*below, html_pane("provenance.html", record=record, again=rerun_command(run.record), whole=whole)]

    return [*parts, _later(made)]


def _later(made: Callable[[], list[pn.viewable.Viewable]]) -> pn.Column:
    """Parts of a page that are made once the browser has what stands above them."""
    below = pn.Column(sizing_mode="stretch_width")
    pn.state.onload(lambda: setattr(below, "objects", made()))
    return below


def _closer(run: Run) -> tuple[DrilldownView | None, list[str]]:
    """The part that looks closer, if the run offers a choice, and what the reader should know."""
    try:
        if run.coordinates:
            closer = DrilldownView(run)
            return closer, closer.complaints
    except WorkbenchError as error:
        return None, [str(error)]
    return None, selection_from_query(query_string(), [])[1]


def _closer_parts(closer: DrilldownView, lead: Any) -> tuple[list[pn.viewable.Viewable], list[FigureCard]]:
    """The most telling figure, beside or above the choice, and the figures of the choice that have no place there."""
    rest = list(closer.cards.values())
    choice = [html_pane("closer.html"), closer.address, closer.controls, closer.note]
    if not isinstance(lead, FigureCard) or len(lead.figure.panels) > 1 or not rest:
        return [_panel(lead), *choice], rest
    beside = pn.Column(*choice, rest[0].panel, styles=SIDE)
    row = pmu.FlexBox(pn.Column(lead.panel, styles=SIDE), beside, gap="24px", sizing_mode="stretch_width")
    return [row], rest[1:]


def _panel(card: Any) -> pn.viewable.Viewable:
    return card.panel if isinstance(card, FigureCard) else card


def _card(run: Run, name: str, closer: DrilldownView | None) -> Any:
    try:
        figure = run.figures[name]
    except WorkbenchError as error:
        return broken(name, error)
    if closer is None:
        return FigureCard(figure, lambda: snippet(run, name))
    return closer.overview_card(figure)


def _download(run: Run, closer: DrilldownView | None) -> Any:
    """A button that saves a report of what is shown, and whether texts are in it."""
    bare = pmu.Checkbox(label="Leave prompts and texts out", value=False, size="small")

    def made() -> bytes:
        if bare.value:
            return report(without_texts(run, closer.asked if closer is not None else {}))
        details = closer.details if closer is not None else Details()
        return report(PageSnapshot(run, details.figures, details.note, details.tables))

    button = download(made, f"{run.id}.html", "Report of this view (HTML)")
    bare.param.watch(
        lambda event: button.param.update(filename=f"{run.id}{'-without-texts' if event.new else ''}.html"), "value"
    )
    return pmu.FlexBox(button, bare, gap="8px 24px", align_items="center")


def _probe(name: str) -> Probe | None:
    """The probe of a run; None if it is not here, or cannot be loaded."""
    try:
        return PROBES.get(name)
    except WorkbenchError:
        return None
