"""What a person writes about a run, kept in its folder beside what was found.

The file is Markdown. A note that was added begins with a line that holds its time, and an empty line before that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError, WorkbenchError
from . import store

LONGEST = 100_000
"""Characters of all notes of a run."""
LONGEST_NOTE = 10_000
"""Characters of one note that is added."""
_PATIENCE = 10.0
"""Seconds to wait for others who write notes of runs in the same place."""
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
_BEGINNING = re.compile(rf"(?:\A|\n\n+)({_TIME})\n")
_LOOKS_LIKE_TIME = re.compile(rf"^(?={_TIME}$)", re.MULTILINE)


class Note(NamedTuple):
    """One note and when it was written, in UTC."""

    time: str
    text: str


def read(folder: Path) -> str:
    """The notes of a run; empty if there are none.

    Raises `WorkbenchError` if they cannot be read.
    """
    path = folder / store.NOTES
    # A link could lead out of the run, into a file that its reader would then publish.
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:LONGEST].strip()
    except OSError as error:
        raise WorkbenchError(f"the notes {path} cannot be read: {error.strerror}") from error


def each(folder: Path) -> list[Note]:
    """The notes of a run one by one, the oldest first.

    What was written without a time has that of the file. Raises `WorkbenchError` if they cannot be read.
    """
    first, *rest = _BEGINNING.split(read(folder))
    found = [Note(_changed(folder), first.strip())] if first.strip() else []
    return found + [Note(time, text.strip()) for time, text in zip(rest[::2], rest[1::2], strict=True)]


def write(folder: Path, text: str) -> None:
    """Replace the notes of a run in one step; an empty text removes them.

    Raises `UsageError` for a text longer than `LONGEST`, and `WorkbenchError` if it cannot be written.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise UsageError(f"notes of {len(text):,} characters are longer than the {LONGEST:,} that a run keeps")
    with _alone(folder):
        _put(folder, text)


def add(folder: Path, text: str) -> None:
    """Add a note with the present time to those of a run, in one step; nothing that others add meanwhile is lost.

    Raises `UsageError` for an empty text, for one longer than `LONGEST_NOTE` and for one that no longer fits into
    `LONGEST`, and `WorkbenchError` if it cannot be written.
    """
    # Whoever writes a line that looks like the time of a note must not begin another note with it.
    text = _LOOKS_LIKE_TIME.sub(" ", "\n".join(text.strip().splitlines()))
    if not text:
        raise UsageError("a note needs some text")
    if len(text) > LONGEST_NOTE:
        raise UsageError(f"a note of {len(text):,} characters is longer than the {LONGEST_NOTE:,} that one may have")
    with _alone(folder):
        before = read(folder)
        if before and not _BEGINNING.match(before):
            before = f"{_changed(folder)}\n{before}"
        whole = f"{before}\n\n{store.now()}\n{text}".strip()
        if len(whole) > LONGEST:
            raise UsageError(
                f"the notes of this run have {len(before):,} of the {LONGEST:,} characters that it keeps; "
                f"{len(text):,} more do not fit"
            )
        _put(folder, whole)


def _put(folder: Path, text: str) -> None:
    try:
        if text:
            content = f"{text}\n".encode(errors="replace")
            store.put(folder, store.NOTES, lambda path: path.write_bytes(content))
        else:
            (folder / store.NOTES).unlink(missing_ok=True)
    except OSError as error:
        raise WorkbenchError(f"the notes of run {folder.name} cannot be written: {error.strerror}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other threads and processes from writing notes of runs in the same place meanwhile."""
    from filelock import FileLock, Timeout

    try:
        lock = FileLock(store.lock(folder, "notes"))
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise WorkbenchError(f"somebody else is writing notes beside run {folder.name}; try again") from None
    except OSError as error:
        raise WorkbenchError(f"the notes of run {folder.name} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _changed(folder: Path) -> str:
    """When the file of the notes was last written."""
    seconds = (folder / store.NOTES).stat().st_mtime
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
