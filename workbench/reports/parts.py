"""The parts of a run's report beside its findings: tables, checks, limits, provenance, cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import WorkbenchError
from ..formatting import byte_size, duration
from ..records.describe import plain
from . import commands
from .blocks import Block, Checks, Code, Facts, Paragraphs, Table

SHOWN_ROWS = 40
ONE_MODEL = "These are numbers of one model on one set of data; others may differ."


def tables(folder: Path, keeps: Callable[[Sequence[str]], bool] | None = None) -> list[Block]:
    """The run's tables, their first rows shown; each can be downloaded whole.

    With `keeps`, only columns whose cells it takes.
    """
    found: list[Block] = []
    for path in sorted((Path(folder) / "tables").glob("*.csv")):
        text = path.read_text(encoding="utf-8", errors="replace")
        rows = list(csv.reader(io.StringIO(text)))
        if not rows:
            continue
        if keeps is not None:
            kept = [i for i in range(len(rows[0])) if keeps([row[i] for row in rows[1:] if i < len(row)])]
            rows = [[row[i] for i in kept if i < len(row)] for row in rows]
            written = io.StringIO()
            csv.writer(written, lineterminator="\n").writerows(rows)
            text = written.getvalue()
        head, body = rows[0], rows[1:]
        note = f"The first {SHOWN_ROWS} of {len(body):,} rows." if len(body) > SHOWN_ROWS else ""
        shown = [tuple(_short(cell) for cell in row) for row in body[:SHOWN_ROWS]]
        numeric = [all(_is_number(row[i]) for row in body[:SHOWN_ROWS] if i < len(row)) for i in range(len(head))]
        caption = f"{path.stem.replace('_', ' ').replace('-', ' ')} ({len(body):,} rows)"
        found.append(Table(caption, head, shown, numeric, note, folded=len(body) > 12, csv=text, file=path.name))
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _short(cell: str) -> str:
    if _is_number(cell) and ("." in cell or "e" in cell.lower()):
        return f"{float(cell):.4g}".replace("-", "−")
    return cell if len(cell) <= 120 else f"{cell[:119]}…"


def checks(record: Mapping[str, Any]) -> list[Block]:
    """What was verified while it ran."""
    rows = [(check["name"], bool(check["passed"]), check["detail"]) for check in record["checks"]]
    return [Checks(rows)] if rows else []


def limits(record: Mapping[str, Any]) -> list[str]:
    """What the run itself names, and what holds for every run."""
    return [*record["limits"], ONE_MODEL]


def rerun(record: Mapping[str, Any]) -> list[Block]:
    """The command, and what is needed for the same numbers."""
    git = record["environment"].get("git") or {}
    state = f"commit {git['commit']}" if git.get("commit") else "a version without a recorded commit"
    if git.get("dirty"):
        state += ", with changes that were not committed"
    return [
        Code(commands.rerun_command(record), "Command"),
        Paragraphs([f"It ran on {state}. `workbench rerun {record['id']}` runs it again and compares the numbers."]),
    ]


def provenance(record: Mapping[str, Any]) -> list[Block]:
    """Model, data, settings and environment, as recorded."""
    blocks: list[Block] = [Facts(_pairs(record["model"]), "Model")]
    if record["data"]:
        rows = [
            (use["name"], f"{use['n_used']:,}", f"{use['n_dropped']:,}", _reasons(use["reasons"]), use["sha256"])
            for use in record["data"]
        ]
        head = ("source", "used", "dropped", "why dropped", "sha256")
        blocks.append(Table("Data", head, rows, (False, True, True, False, False)))
    spec = record["spec"]
    settings = [
        (name, plain(value), "given" if name in spec["given"] else f"preset {record['preset']} or default")
        for name, value in spec["resolved"].items()
    ]
    settings.append(("seed", plain(spec["seed"]), ""))
    blocks.append(Table("Settings", ("setting", "value", "from"), settings))
    environment = record["environment"]
    git = environment.get("git") or {}
    pairs = [
        (name, plain(value))
        for name, value in environment.items()
        if name not in ("packages", "git") and value is not None
    ]
    pairs.append(("git commit", plain(git.get("commit"))))
    pairs.append(("uncommitted changes", "not known" if git.get("dirty") is None else "yes" if git["dirty"] else "no"))
    blocks.append(Facts(pairs, "Environment"))
    packages = sorted(environment.get("packages", {}).items())
    if packages:
        blocks.append(Table("Packages", ("package", "version"), packages, folded=True))
    if record["files"]:
        blocks.append(Table("Files", ("file", "sha256"), sorted(record["files"].items()), folded=True))
    return blocks


def _pairs(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name.replace("_", " "), plain(value))
        for name, value in part.items()
        if value not in (None, []) and not isinstance(value, Mapping)
    ] + [
        (f"{name} {key}", plain(item))
        for name, value in part.items()
        if isinstance(value, Mapping)
        for key, item in value.items()
    ]


def _reasons(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{reason}: {count}" for reason, count in reasons.items())


def cost(record: Mapping[str, Any]) -> list[Block]:
    """What it took, beside what was planned."""
    stats, plan = record["stats"], record["plan"]
    pairs = [("time", duration(stats["seconds"])), ("peak memory", byte_size(stats["peak_bytes"]))]
    if plan.get("passes"):
        planned = f"{plan['passes']:,} passes, {duration(plan['seconds'])}, {byte_size(plan['bytes'])}"
        pairs.append(("planned", planned))
    return [Facts(pairs, "Cost")]


def data_table(run: Any) -> list[Block]:
    """The arrays of the result with their sizes, units and meanings; nothing if the run has none."""
    try:
        tree = run.data
    except (WorkbenchError, AttributeError):
        return []
    rows = []
    for node in tree.subtree:
        for name, array in sorted(node.data_vars.items(), key=lambda item: str(item[0])):
            where = f"{node.path.strip('/')}/{name}".strip("/")
            sizes = " × ".join(f"{dim} {count}" for dim, count in array.sizes.items())
            rows.append((where, sizes, str(array.attrs.get("units", "")), str(array.attrs.get("description", ""))))
    return [Table("Arrays of the result", ("array", "axes", "unit", "meaning"), rows, folded=True)] if rows else []
