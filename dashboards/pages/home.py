"""The first page: what can be asked, on which models, and every run there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...models import listing as models
from ...probe.contract import Probe
from ...probe.registry import PROBES
from ...records import store
from ...records.record import Record
from ..components.layout import page
from ..components.templates import html_pane, render
from ..components.text_inputs import TextInput
from ..server.job_queue import JobQueue

SHOWN = 200
"""Runs in the list; a filter finds the others."""
_POLL = 1000


def home(runs: Path, jobs: JobQueue | None = None) -> pmu.Page:
    """The page of probes, models and the runs of a folder, newest first; without `jobs` nothing can be started."""
    parts: list[Any] = []
    if jobs is not None:
        parts += [html_pane("probes.html", probes=_probes()), _running(jobs)]
    parts += _runs(runs, jobs is not None)
    if jobs is not None:
        parts.append(
            html_pane("models.html", models=models(), loaded=[m for m in jobs.shelf.models() if jobs.shelf.loaded(m)])
        )
    return page("Workbench", *parts)


def _probes() -> list[tuple[str, Probe | None, str]]:
    """Every probe by name; one that cannot be loaded comes with the reason."""
    found, broken = PROBES.loaded()
    every = [*((probe.name, probe, "") for probe in found), *((name, None, why) for name, why in broken.items())]
    return sorted(every, key=lambda one: one[0])


def _running(jobs: JobQueue) -> pn.pane.HTML:
    """The jobs of all visitors, looked at again every second."""
    drawn = html_pane("running.html", jobs=jobs.now())

    def look() -> None:
        drawn.object = render("running.html", jobs=jobs.now())

    pn.state.add_periodic_callback(look, period=_POLL)
    return drawn


def _matches(record: Record, asked: str) -> bool:
    text = " ".join([record.id, record.probe, record.model.id, record.status, record.preset]).lower()
    return all(word in text for word in asked.lower().split())


def _runs(runs: Path, startable: bool) -> list[Any]:
    found = store.listing(runs)
    asked = TextInput(label="Filter by probe, model, status or id", value="", width=380, margin=0)
    chosen = {
        "Probe": _choice("Probe", [record.probe for record in found.records]),
        "Model": _choice("Model", [record.model.id for record in found.records]),
        "Status": _choice("Status", [record.status for record in found.records]),
    }

    def table(text: str, probe: str, model: str, status: str) -> pn.pane.HTML:
        shown = [
            record
            for record in found.records
            if _matches(record, text)
            and probe in ("", record.probe)
            and model in ("", record.model.id)
            and status in ("", record.status)
        ]
        return html_pane(
            "runs.html",
            records=shown[:SHOWN],
            matching=len(shown),
            total=len(found.records),
            unreadable=found.unreadable,
            folder=str(runs),
            startable=startable,
        )

    listed = pn.bind(table, asked.param.value_input, *(select.param.value for select in chosen.values()))
    filters = [pmu.FlexBox(asked, *chosen.values(), gap="18px 24px", margin=(5, 10))] if found.records else []
    return [html_pane("runs_heading.html"), *filters, pn.panel(listed, sizing_mode="stretch_width")]


def _choice(label: str, values: Sequence[str]) -> pmu.Select:
    return pmu.Select(
        label=label, options={"all": "", **{value: value for value in sorted(set(values))}}, width=200, margin=0
    )
