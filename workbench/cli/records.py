"""`workbench runs`, `show`, `compare` and `verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError, WorkbenchError
from ..formatting import byte_size, duration, one_line
from ..records.describe import control, number
from .options import Json, RunName, RunNames, Runs
from .output import as_json, columns, line

if TYPE_CHECKING:
    from ..records.record import Record


def runs(runs: Runs = Path("runs"), json: Json = False) -> None:
    """The runs of a folder, newest first."""
    from ..records import store

    if runs.exists() and not runs.is_dir():
        raise UsageError(f"{runs} is not a folder; give another with --runs")
    found = store.listing(runs)
    if json:
        as_json([store.as_dict(record) for record in found.records])
    elif found.records:
        columns(
            ("id", "status", "preset", "model", "seconds"),
            [(one.id, one.status, one.preset, one.model.id, f"{one.stats.seconds:.0f}") for one in found.records],
        )
    else:
        line(f"no runs in {runs}")
    for damaged in found.unreadable:
        print(f"workbench: unreadable: {one_line(damaged.reason)}", file=sys.stderr)
    if found.unreadable:
        kept = len(found.records)
        print(f"workbench: {len(found.unreadable)} unreadable beside {kept} readable runs", file=sys.stderr)


def show(run: RunName, runs: Runs = Path("runs"), json: Json = False) -> None:
    """The record of a run."""
    from ..records import store

    folder = store.find(run, runs)
    record = store.read(folder)
    if json:
        as_json(store.as_dict(record))
        return
    line(f"{record.id}: {record.status}")
    for sentence in record.summary:
        line(f"  {sentence}")
    _facts(record, folder)
    if record.headline:
        line()
        columns(
            ("headline", "value", "n", "control", "scored on"),
            [(one.name, number(one), one.n, control(one), one.split) for one in record.headline],
        )
    if record.checks:
        line()
        columns(
            ("check", "passed", "detail"),
            [(check.name, "yes" if check.passed else "no", check.detail) for check in record.checks],
        )
    for limit in record.limits:
        line(f"limit: {limit}")
    if record.error is not None:
        line(f"error: {record.error.kind}: {one_line(record.error.message)}")
        for part in record.error.traceback.splitlines():
            line(f"  {part}")


def _facts(record: Record, folder: Path) -> None:
    model, git = record.model, record.environment.git
    state = "" if git.commit is None else f", commit {git.commit[:12]}{' with changes' if git.dirty else ''}"
    rows: list[tuple[str, Any]] = [
        ("probe", f"{record.probe}, preset {record.preset}, seed {record.spec.seed}"),
        ("model", ", ".join(str(part) for part in (model.id, model.dtype, model.device, model.engine) if part)),
        ("adapter", None if model.adapter is None else model.adapter.id),
        ("weights", model.fingerprint),
        ("about", model.about),
        ("state", "; ".join(model.state) or None),
        ("quantisation", model.quantisation),
        ("licence", model.licence),
        ("settings", ", ".join(f"{name}={value}" for name, value in record.spec.resolved.items())),
        *(("data", f"{one.name}: {one.n_used} used, {one.n_dropped} dropped") for one in record.data),
        ("started", record.started),
        ("finished", record.finished),
        (
            "took",
            f"{duration(record.stats.seconds)} (planned {duration(record.plan.seconds)}), "
            f"{byte_size(record.stats.peak_bytes)}",
        ),
        (
            "with",
            f"workbench {record.environment.packages.get('workbench')}, Python {record.environment.python}{state}",
        ),
        ("folder", folder),
    ]
    columns(("", ""), [(f"  {name}", value) for name, value in rows if value is not None])


def compare(run: RunNames, runs: Runs = Path("runs"), json: Json = False) -> None:
    """What differs between runs: settings, model, environment, headlines."""
    from ..records import comparison, store
    from ..records.record import Headline

    records = [store.read(store.find(name, runs)) for name in run]
    found = comparison.compare(records)
    if json:
        as_json(found)
        return
    for part in comparison.PARTS:
        if found[part]:
            rows = [(one.name, *one.texts) for one in found.differences if one.part == part]
            columns((part, *found["runs"]), rows)
            line()
    same = [part for part in comparison.PARTS if not found[part]]
    if same:
        line(f"the same in all: {', '.join(same)}")
        line()
    rows = []
    for row in found["headlines"]:
        values = ["–" if one is None else number(Headline.model_validate(one)) for one in row["runs"]]
        overlap = {True: "yes", False: "no", None: ""}[row["overlap"]]
        rows.append((row["name"], *values, comparison.change(row["difference"]), overlap))
    columns(("headline", *found["runs"], "last − first", "intervals overlap"), rows)


def verify(run: RunName, runs: Runs = Path("runs"), json: Json = False) -> None:
    """Hash every file of a run again."""
    from ..records import store
    from ..records.file_hashes import verify as hash_again

    folder = store.find(run, runs)
    record = store.read(folder)
    if record.status != "success":
        raise WorkbenchError(f"run {record.id} has status {record.status!r}: there is nothing to verify yet")
    found = hash_again(folder, record)
    if json:
        as_json({"id": record.id, "files": len(record.files), "wrong": [finding._asdict() for finding in found]})
    else:
        for finding in found:
            line(f"{finding.what}: {finding.path}")
    if found:
        raise WorkbenchError(f"{len(found)} files of run {record.id} are not what was written")
    if not json:
        beside = "; its notes may change at any time and are not checked" if (folder / store.NOTES).exists() else ""
        covered = "and its record " if record.record_sha256 else ""
        without = "" if covered else "; its record is of a version that kept no hash of it"
        line(f"all {len(record.files)} files of run {record.id} {covered}are what was written{without}{beside}")


def note(
    run: RunName,
    text: Annotated[str | None, typer.Argument(help="What to keep; empty to remove. Without it, print.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Add the text with the time; keep what is there.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """What a person writes about a run: it is shown on its page and in its reports."""
    from ..records import notes, store

    folder = store.find(run, runs)
    store.read(folder)
    if text is None:
        if add:
            raise UsageError("--add takes a text to add")
        line(notes.read(folder))
    elif add:
        notes.add(folder, text)
    else:
        notes.write(folder, text)
