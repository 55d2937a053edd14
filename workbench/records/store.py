"""Run folders on disk: whole files only, whatever moment a process dies at.

Everything is first written under `<runs>/.partial/<id>/` and then renamed into place, so a run folder never holds a
half file. What a dead process left under `.partial` is swept away when the next run begins. Reading writes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..errors import UnknownName, UsageError, WorkbenchError
from ..files import draft, sha256, write_durably
from . import heartbeat, seal
from .record import SCHEMA, Record

RECORD = "record.json"
STAGES = "stages"
NOTES = "notes.md"
"""What a person writes about a run, at any time: no part of what `files` hold hashes of."""
_PARTIAL = ".partial"
_ID = re.compile(r"\d{8}T\d{6}Z-(?P<probe>[a-z0-9-]+)-[0-9a-f]{8}\Z")
_UNHASHED = {RECORD, heartbeat.FILE, NOTES}


def now() -> str:
    """The present moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def new_id(probe: str, seed_text: str) -> str:
    """A name for a run: when, which probe, and eight digits that tell apart runs of one second."""
    digest = hashlib.sha256(f"{seed_text}{secrets.token_hex(8)}".encode()).hexdigest()
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{probe}-{digest[:8]}"


def _partial(folder: Path) -> Path:
    return folder.parent / _PARTIAL / folder.name


def is_full(error: BaseException) -> bool:
    """Whether something failed because there is no room on the disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def put(folder: Path, name: str, write: Callable[[Path], object]) -> Path:
    """Let `write(path)` make a file or a folder, and move it to `folder/name` once it is whole.

    Raises `WorkbenchError` if the folder of the run is gone.
    """
    if not folder.is_dir():
        raise WorkbenchError(f"the folder {folder} of the run is gone")
    target = folder / name
    with draft(target, _partial(folder)) as made:
        write(made)
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def lock(folder: Path, name: str) -> Path:
    """Where to lock what several may write, one file for all runs of a folder: it has to stay when it is let go."""
    place = folder.parent / _PARTIAL
    place.mkdir(exist_ok=True)
    return place / f"{name}.lock"


def write_record(folder: Path, record: Record) -> None:
    """Replace the record of a run in one step.

    Numbers that JSON has no word for (NaN, infinities) become null.
    """
    text = seal.sealed(record)
    put(folder, RECORD, lambda path: write_durably(path, text))


def create(runs: Path, record: Record, heart: Callable[[Path], heartbeat.Heart]) -> tuple[Path, heartbeat.Heart]:
    """Make the folder of a run; it appears with its record and its first heartbeat in it."""
    folder = runs / record.id
    made = _partial(folder)
    beating = heart(folder)
    sweep_dead(runs)
    try:
        made.mkdir(parents=True)
        (made / heartbeat.FILE).write_text(beating.words())
        write_durably(made / RECORD, seal.sealed(record))
        made.rename(folder)
    except (NotADirectoryError, FileExistsError) as error:
        raise UsageError(f"{runs} is not a folder; give another one for the runs") from error
    except PermissionError as error:
        raise UsageError(f"no permission to write in {runs}; give another folder for the runs") from error
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return folder, beating


def claim(folder: Path, heart: heartbeat.Heart) -> None:
    """Claim the folder of a run that no living process works in.

    Raises `WorkbenchError` if one does.
    """
    if heartbeat.alive(folder):
        raise WorkbenchError(f"run {folder.name} is still running; wait for it or stop it first")
    remove_partial(folder)
    (folder / heartbeat.FILE).unlink(missing_ok=True)
    try:
        with (folder / heartbeat.FILE).open("x") as file:
            file.write(heart.words())
    except FileExistsError as error:
        raise WorkbenchError(f"run {folder.name} was just resumed by another process") from error


def remove_partial(folder: Path) -> None:
    """Remove what a dead process left half-written for this run."""
    shutil.rmtree(_partial(folder), ignore_errors=True)


def remove_stages(folder: Path) -> None:
    """Remove the intermediate stages of a finished run; they leave their place in one step."""
    if (folder / STAGES).is_dir():
        place = _partial(folder)
        place.mkdir(parents=True, exist_ok=True)
        (folder / STAGES).rename(place / STAGES)
        remove_partial(folder)


def sweep_dead(runs: Path) -> None:
    """Remove the half-written parts of all runs that no living process works in."""
    place = runs / _PARTIAL
    for left in place.iterdir() if place.is_dir() else ():
        if heartbeat.alive(runs / left.name) or heartbeat.alive(left):
            continue
        # A folder that is only being made has no heartbeat yet: without one it stays until it is surely nobody's.
        if (runs / left.name).exists() or (left / heartbeat.FILE).exists() or _age(left) > heartbeat.STALE:
            shutil.rmtree(left, ignore_errors=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _fields(error: ValidationError) -> str:
    wrong = [".".join(str(part) for part in item["loc"]) + f" ({item['msg'].lower()})" for item in error.errors()]
    return ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def read(folder: Path) -> Record:
    """The record of a run as it stands now: one that started and whose process is gone reads `interrupted`.

    Raises `WorkbenchError` if the record is missing, damaged, or of a later schema than this version knows.
    """
    path = folder / RECORD
    # Whether the process lives is asked first: a run that ends in between has then written its last record.
    living = heartbeat.alive(folder)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise WorkbenchError(f"{folder} has no {RECORD}; it is not a run, or its record was lost") from None
    except NotADirectoryError:
        raise WorkbenchError(f"{folder} is a file; name the folder of a run") from None
    except OSError as error:
        raise WorkbenchError(f"the record {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise WorkbenchError(f"the record {path} is damaged: it is not JSON ({error})") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise WorkbenchError(f"the record {path} is damaged: it has no schema number")
    if schema > SCHEMA:
        raise WorkbenchError(
            f"the record {path} has schema {schema}, this version reads up to {SCHEMA}; install a newer workbench"
        )
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        raise WorkbenchError(f"the record {path} is damaged: {_fields(error)}") from error
    if record.status == "started" and not living:
        record.status = "interrupted"
    return record


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 of every file of a run but its record, heartbeat, notes and intermediate stages, by path in the folder."""
    return {path: sha256(folder / path) for path in files(folder)}


def files(folder: Path) -> Iterator[str]:
    """The paths of a run's files within its folder, in order."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in _UNHASHED and not name.startswith(f"{STAGES}/"):
            yield name


class Unreadable(NamedTuple):
    """A folder that looks like a run and cannot be read, with the reason."""

    path: Path
    reason: str


class Listing(NamedTuple):
    """The runs of a folder, newest first, and those that cannot be read."""

    records: list[Record]
    unreadable: list[Unreadable]


def _candidates(runs: Path, probe: str | None = None) -> list[Path]:
    """Folders that look like runs, newest first; with `probe`, none whose name says that it is of another."""
    if not runs.is_dir():
        return []

    def may_be(path: Path) -> bool:
        if path.name.startswith("."):
            return False
        named = _ID.match(path.name)
        if named and probe not in (None, named["probe"]):
            return False
        return path.is_dir() and (named is not None or (path / RECORD).exists())

    return sorted((path for path in runs.iterdir() if may_be(path)), reverse=True)


def listing(runs: Path, probe: str | None = None) -> Listing:
    """Every run under a folder, or every one of a probe; one that cannot be read does not hide the others."""
    found, unreadable = [], []
    for path in _candidates(runs, probe):
        try:
            found.append(read(path))
        except WorkbenchError as error:
            unreadable.append(Unreadable(path, str(error)))
    return Listing([record for record in found if probe in (None, record.probe)], unreadable)


def records(runs: Path, probe: str) -> Iterator[Record]:
    """The readable records of a probe's runs, newest first; each is read when it is asked for, and no other one is."""
    for path in _candidates(runs, probe):
        try:
            record = read(path)
        except WorkbenchError:
            continue
        if record.probe == probe:
            yield record


def has_run(runs: Path, name: str) -> bool:
    """Whether a folder of runs has one of this name, which may be any text that a browser sent."""
    # a sign that no file name may hold is no question to the disk
    plain = name == Path(name).name != "" and not name.startswith(".") and "\0" not in name
    return plain and (runs / name).is_dir()


def find(run: str | os.PathLike[str], runs: str | os.PathLike[str] = "runs") -> Path:
    """The folder of a run given as a path, an id, or the unique beginning of an id.

    Raises `UnknownName` if there is none and `UsageError` if several begin so.
    """
    text, root = os.fspath(run), Path(runs)
    if not text:
        raise UsageError(
            f"name a run: a path, an id, or the beginning of an id; `workbench runs --runs {root}` lists them"
        )
    names = [path.name for path in _candidates(root)]
    if text in names:
        return root / text
    path = Path(text)
    if path.is_dir() and (path / RECORD).exists():
        return path
    if path.name == RECORD and path.is_file():
        return path.parent
    if os.sep in text or path.exists():
        raise UsageError(f"{text} is not a run: there is no {RECORD} in it")
    starting = [name for name in names if name.startswith(text)]
    if len(starting) == 1:
        return root / starting[0]
    if starting:
        raise UsageError(f"{len(starting)} runs begin with {text!r}: {', '.join(starting[:5])}; write more of the id")
    raise UnknownName(f"run under {root}", text, names, f"`workbench runs --runs {root}` lists them")


def as_dict(record: Record) -> dict[str, Any]:
    """The record as `show --json` prints it."""
    return json.loads(record.model_dump_json())
