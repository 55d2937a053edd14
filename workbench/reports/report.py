"""Turns runs into a report: what was asked, what was found, how sure, against what, and how to run it again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..errors import UsageError, WorkbenchError
from ..figures import Figure, codec
from ..probe.explore import TextTable
from . import headlines
from .blocks import Block, BulletList, Card, Cards, FigureBlock, Paragraphs, Report, Section, Table
from .damage import damage
from .overview import comparisons, reliability
from .parts import checks, cost, data_table, limits, provenance, rerun, tables


class RunLike(Protocol):
    """What a report needs of a run."""

    @property
    def folder(self) -> Path: ...
    @property
    def record(self) -> dict[str, Any]: ...
    @property
    def figures(self) -> Mapping[str, Figure]: ...
    @property
    def summary(self) -> list[str]: ...


ENDED = {
    "started": "This run has not finished; what it had written so far is shown.",
    "cancelled": "This run was cancelled; what it had written until then is shown.",
    "interrupted": "This run was interrupted: its process died. What it had written until then is shown.",
    "error": "This run failed; what it had written until then is shown.",
}


def build(runs: Sequence[RunLike]) -> Report:
    """The report of one run, or of several with an overview and their differences first.

    Raises `UsageError` if there is no run.
    """
    if not runs:
        raise UsageError("a report needs at least one run; `workbench runs` lists them")
    records = [run.record for run in runs]
    keys = [f"run-{i}" for i in range(1, len(runs) + 1)]
    damaged = [damage(run) for run in runs]
    drawn = [_figures(run, key) for run, key in zip(runs, keys, strict=True)]
    attached = [
        {
            "record": record,
            "summary": list(run.summary),
            "figures": [codec.to_dict(picture.figure) for picture in pictures],
            "folder": run.folder,
            "notes": notes(run),
            "damage": broken,
        }
        for run, record, (pictures, _), broken in zip(runs, records, drawn, damaged, strict=True)
    ]
    parts = [
        _sections(run, record, key, broken, *figures)
        for run, record, key, broken, figures in zip(runs, records, keys, damaged, drawn, strict=True)
    ]
    if len(runs) == 1:
        return Report(_title(records[0]), _about(records[0]), parts[0], attached)
    models = {record["model"]["id"] for record in records}
    cards = [_card(run, record, key) for run, record, key in zip(runs, records, keys, strict=True)]
    sections = [
        Section("What was asked and found", "overview", [Cards(cards)]),
        Section("How sure, and what it cannot say", "trust", [*_damaged(damaged), BulletList(reliability(records))]),
        *comparisons(records),
        *(
            Section(f"Run {i}: {_title(record, len(models) > 1)}", key, (), part, _about(record))
            for i, (record, key, part) in enumerate(zip(records, keys, parts, strict=True), start=1)
        ),
    ]
    title = (
        f"How {models.pop()} uses its context" if len(models) == 1 else f"How {len(models)} models use their context"
    )
    finished = sum(record["status"] == "success" for record in records)
    return Report(title, f"{len(runs)} runs, {finished} finished", sections, attached)


def _damaged(found: Sequence[str]) -> list[Block]:
    told = [f"Run {i}: {broken}" for i, broken in enumerate(found, start=1) if broken]
    return [Paragraphs(told, "notice")] if told else []


def question(record: Mapping[str, Any]) -> str:
    """What the probe asks: as the record says, or as the registered probe does; empty if neither is there."""
    from ..probe.registry import PROBES

    if record.get("question"):
        return str(record["question"])
    try:
        return str(PROBES.get(record["probe"]).question)
    except WorkbenchError:
        return ""


def _title(record: Mapping[str, Any], with_model: bool = True) -> str:
    return headlines.label(record["probe"]) + (f" on {record['model']['id']}" if with_model else "")


def _about(record: Mapping[str, Any]) -> str:
    day = str(record["created"])[:16].replace("T", " ")
    words = [
        "finished" if record["status"] == "success" else record["status"],
        f"preset {record['preset']}",
        f"seed {record['spec']['seed']}",
        f"{day} UTC",
        record["id"],
    ]
    return " · ".join(words)


def _figures(run: RunLike, key: str) -> tuple[list[FigureBlock], list[str]]:
    """The figures that can be read, and why others cannot."""
    pictures, missing = [], []
    try:
        names = list(run.figures)
    except WorkbenchError as error:
        return [], [f"The figures cannot be read: {error}."]
    for i, name in enumerate(names, start=1):
        try:
            pictures.append(FigureBlock(run.figures[name], f"{key}-figure-{i}", _saved(run, name)))
        except WorkbenchError as error:
            missing.append(f"Figure {name} cannot be shown: {error}.")
    return pictures, missing


def _saved(run: RunLike, name: str) -> str | None:
    """The SVG that a run saved of a figure; one that is shown without its texts has none to show."""
    saved = getattr(run, "saved_svg", None)
    return None if saved is None else saved(name)


def _sections(
    run: RunLike,
    record: Mapping[str, Any],
    key: str,
    broken: str,
    pictures: Sequence[FigureBlock],
    missing: Sequence[str],
) -> list[Section]:
    """All parts of one run; parts that have nothing to say are left out."""
    found: list[Block] = [Paragraphs([broken], "notice")] if broken else []
    if record["status"] in ENDED:
        said = [ENDED[record["status"]]]
        if record.get("error"):
            said.append(f"{record['error']['kind']}: {record['error']['message']}")
        found.append(Paragraphs(said, "notice"))
    if notice := getattr(run, "notice", ""):
        found.append(Paragraphs([notice], "notice"))
    asked = question(record)
    if asked:
        found.append(Paragraphs([asked[:1].upper() + asked[1:]], "lead"))
    if run.summary:
        found.append(Paragraphs(list(run.summary)))
    quoted = headlines.quoted(record)
    figures: list[Block] = [*pictures, *([Paragraphs(missing, "notice")] if missing else [])]
    sections = [
        Section("Summary", f"{key}-summary", found),
        Section("Notes", f"{key}-notes", [Paragraphs(_paragraphs(noted))] if (noted := notes(run)) else []),
        Section("Headlines", f"{key}-headlines", [quoted] if quoted.rows else []),
        Section("Figures", f"{key}-figures", figures),
        Section("Tables", f"{key}-tables", [*_told(run), *tables(run.folder, getattr(run, "keeps", None))]),
        Section("Checks", f"{key}-checks", checks(record)),
        Section("Limits", f"{key}-limits", [BulletList(limits(record))]),
        Section("Run it again", f"{key}-again", rerun(record)),
        Section("Provenance", f"{key}-provenance", [*provenance(record), *data_table(run), *cost(record)]),
    ]
    return [section for section in sections if section.blocks]


def _told(run: RunLike) -> list[Block]:
    """The tables of texts of what is chosen on a page, where it is a page that is reported."""
    chosen: Sequence[TextTable] = getattr(run, "told", ())
    return [Table(one.title, one.columns, one.rows, note=one.caption) for one in chosen]


def notes(run: RunLike) -> str:
    """What was written about a run; a run that is shown without its texts, or is none on disk, has nothing of it."""
    return str(getattr(run, "notes", ""))


def _paragraphs(text: str) -> list[str]:
    """A text at its empty lines."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]


def _card(run: RunLike, record: Mapping[str, Any], key: str) -> Card:
    quoted = record["headline"]
    first = next((headline for headline in quoted if headline.get("control")), quoted[0] if quoted else None)
    error = record.get("error")
    said = list(run.summary) or ([f"{error['kind']}: {error['message']}"] if error else [])
    asked = question(record)
    return Card(
        key=key,
        title=headlines.label(record["probe"]),
        about=f"{record['model']['id']} · preset {record['preset']} · seed {record['spec']['seed']}",
        status=record["status"],
        question=asked[:1].upper() + asked[1:],
        said=said,
        headline=headlines.row(first) if first else None,
    )
