"""The page of one run: what was found, its figures, and how it was made."""

from __future__ import annotations

import json
from pathlib import Path

import panel as pn
import panel_material_ui as pmu

from .. import store
from ..errors import WorkbenchError
from ..registry import PROBES
from ..reports.commands import again
from ..runs import Run
from .fragments import fragment
from .shell import page


def run_page(runs: Path) -> pmu.Page:
    """The page of the run that the address names; only ids of runs in the folder are answered."""
    asked = str(pn.state.route_params.get("run_id", ""))
    found = store.listing(runs)
    if asked not in {record.id for record in found.records}:
        broken = [left.reason for left in found.unreadable if left.path.name == asked]
        return page("Workbench", fragment("missing.html", asked=asked, folder=str(runs), reasons=broken))
    run = Run(runs / asked)
    record = run.typed_record
    parts: list[pn.viewable.Viewable] = [
        fragment("run.html", record=record, summary=run.summary, question=_question(record.probe))
    ]
    parts += [_figure(run, name) for name in run.figures]
    parts.append(
        fragment("provenance.html", record=record, again=again(run.record), whole=json.dumps(run.record, indent=2))
    )
    return page("Workbench", *parts)


def _question(probe: str) -> str:
    return PROBES.get(probe).question if probe in PROBES.names() else ""


def _figure(run: Run, name: str) -> pn.Column:
    try:
        figure = run.figures[name]
    except WorkbenchError as error:
        return pn.Column(fragment("broken.html", name=name, reason=str(error)), sizing_mode="stretch_width")
    drawn = pn.pane.Plotly(figure.plotly(title=False), sizing_mode="stretch_width", config={"displaylogo": False})
    return pn.Column(
        fragment("figure.html", figure=figure),
        drawn,
        fragment("figure_data.html", figure=figure, table=figure.data.head(500), rows=len(figure.data)),
        sizing_mode="stretch_width",
    )
