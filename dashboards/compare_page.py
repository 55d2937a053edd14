"""Several runs side by side: what differs in how they were made, their headlines on one scale, and their figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import panel as pn
import panel_material_ui as pmu

from .. import compare, store
from ..errors import WorkbenchError
from ..record import Record
from ..reports.compare import plain
from ..reports.overview import side_by_side
from ..runs import Run
from .choice import search_of
from .export import snippet
from .figure_card import FigureCard, broken
from .fragments import fragment
from .shell import page

MOST = 4
"""Runs that fit beside each other."""
PARTS = {"settings": "Settings", "model": "Model", "data": "Data", "environment": "Environment"}
SIDE = {"flex": "1 1 400px", "min-width": "0"}


def compare_page(runs: Path) -> pmu.Page:
    """The page that compares the runs that its address names; only ids of runs in the folder are answered."""
    found = store.listing(runs)
    known = {record.id: record for record in found.records}
    asked = asked_runs(search_of())
    there = [known[one] for one in asked if one in known]
    shown = there[:MOST]
    said = [f"There is no readable run {one} in this folder." for one in asked if one not in known]
    if len(there) > MOST:
        said.append(f"{MOST} runs fit beside each other; the first {MOST} of {len(there)} are shown.")
    if len(shown) == 1:
        said.append("One run alone cannot be compared; choose another one.")
    parts: list[Any] = [fragment("compare.html", said=said, count=len(shown))]
    if len(shown) > 1:
        parts += _comparison([Run(runs / record.id) for record in shown])
    chosen = [record.id for record in shown]
    parts.append(fragment("compare_choose.html", records=found.records, chosen=chosen, first=len(shown) < 2, most=MOST))
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
    records = [run.typed_record for run in shown]
    letters = [f"run {i}" for i in range(1, len(shown) + 1)]
    differing = compare.compare(records)
    tables = [
        (title, [(name, [plain(value) for value in values]) for name, values in differing[part].items()])
        for part, title in PARTS.items()
    ]
    quoted = side_by_side(letters, [run.record for run in shown])
    heads = [_head(letter, record) for letter, record in zip(letters, records, strict=True)]
    parts: list[Any] = [
        fragment(
            "compare_facts.html",
            heads=heads,
            tables=tables,
            letters=letters,
            quoted=quoted,
            differences=differing["headlines"],
            probes=len({record.probe for record in records}),
        )
    ]
    names = list(dict.fromkeys(name for run in shown for name in run.figures))
    if names:
        parts.append(fragment("heading.html", title="Figures side by side"))
    for name in names:
        row = [_figure(run, name, letter) for run, letter in zip(shown, letters, strict=True)]
        parts.append(pmu.FlexBox(*row, gap="24px", align_items="start", sizing_mode="stretch_width"))
    ids = ", ".join(json.dumps(str(run.folder)) for run in shown)
    lines = (
        f"import workbench as wb\nfrom workbench.compare import compare\n\nruns = [wb.open(path) for path in [{ids}]]"
    )
    parts.append(fragment("python.html", lines=f"{lines}\ncompare([run.typed_record for run in runs])"))
    return parts


def _head(letter: str, record: Record) -> dict[str, Any]:
    return {"letter": letter, "record": record}


def _figure(run: Run, name: str, letter: str) -> Any:
    if name not in list(run.figures):
        return pn.Column(fragment("no_figure.html", letter=letter, name=name), styles=SIDE)
    try:
        figure = run.figures[name]
    except WorkbenchError as error:
        return pn.Column(broken(name, error), styles=SIDE)
    card = FigureCard(figure, lambda: snippet(run, name), before=letter)
    return pn.Column(card.panel, styles=SIDE)
