"""The first page: every run there is."""

from __future__ import annotations

from pathlib import Path

import panel as pn
import panel_material_ui as pmu

from .. import store
from ..record import Record
from .fragments import fragment
from .shell import page


def _matches(record: Record, asked: str) -> bool:
    text = " ".join([record.id, record.probe, record.model.id, record.status, record.preset]).lower()
    return all(word in text for word in asked.lower().split())


def home(runs: Path) -> pmu.Page:
    """The page that lists the runs of a folder, newest first, with a filter."""
    found = store.listing(runs)
    asked = pmu.TextInput(
        label="Filter by probe, model, status or id", value="", sizing_mode="stretch_width", max_width=420
    )

    def table(text: str) -> pn.pane.HTML:
        shown = [record for record in found.records if _matches(record, text)]
        return fragment(
            "runs.html", records=shown, total=len(found.records), unreadable=found.unreadable, folder=str(runs)
        )

    parts = [asked] if found.records else []
    return page("Workbench", *parts, pn.panel(pn.bind(table, asked.param.value_input), sizing_mode="stretch_width"))
