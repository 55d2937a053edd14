"""Several runs side by side: what differs in how they were made, their headlines on one scale, and their figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import panel_material_ui as pmu

from ...records import store
from ...runs.run import Run
from ..components import side_by_side
from ..components.layout import page
from ..components.selection import query_string
from ..components.templates import html_pane

MOST = 4
"""Runs that fit beside each other."""


def compare_page(runs: Path) -> pmu.Page:
    """The page that compares the runs that its address names; only ids of runs in the folder are answered."""
    found = store.listing(runs)
    known = {record.id: record for record in found.records}
    asked = asked_runs(query_string())
    there = [known[one] for one in asked if one in known]
    shown = there[:MOST]
    said = [f"There is no readable run {one} in this folder." for one in asked if one not in known]
    if len(there) > MOST:
        said.append(f"{MOST} runs fit beside each other; the first {MOST} of {len(there)} are shown.")
    if len(shown) == 1:
        said.append("One run alone cannot be compared; choose another one.")
    parts: list[Any] = [html_pane("compare.html", said=said, count=len(shown))]
    if len(shown) > 1:
        parts += _comparison([Run(runs / record.id) for record in shown])
    chosen = [record.id for record in shown]
    parts.append(
        html_pane("compare_choose.html", records=found.records, chosen=chosen, first=len(shown) < 2, most=MOST)
    )
    return page("Workbench", *parts)


def asked_runs(search: str) -> list[str]:
    """The runs that an address names, as `runs=a,b` or as `run=a&run=b`, each once."""
    try:
        pairs = parse_qsl(search.removeprefix("?"), max_num_fields=50)
    except ValueError:
        return []
    named = [one.strip() for name, text in pairs if name in ("runs", "run") for one in text.split(",")]
    return [one for one in dict.fromkeys(named) if one][:50]


def _comparison(shown: Sequence[Run]) -> list[Any]:
    parts: list[Any] = [side_by_side.facts(shown)]
    names = dict.fromkeys(name for run in shown for name in run.figures)
    if names:
        parts += [html_pane("heading.html", title="Figures side by side"), *side_by_side.figures(shown, names)]
    paths = ",\n    ".join(json.dumps(str(run.folder)) for run in shown)
    return [*parts, html_pane("python.html", lines=f"import workbench as wb\n\nwb.compare(\n    {paths},\n)")]
