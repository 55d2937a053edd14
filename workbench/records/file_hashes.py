"""Whether the files of a run, its record among them, are still what was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..files import sha256
from . import store
from .record import Record
from .seal import unbroken


class Finding(NamedTuple):
    """What is wrong with one file of a run: it is `missing`, `changed` or `added`."""

    path: str
    what: str


def check_files(folder: Path, listed: Mapping[str, str]) -> list[Finding]:
    """Compare files with their hashes in the record."""
    found = []
    for path, digest in listed.items():
        # The record may have been tampered with: it must not make anyone read outside the run.
        target = folder / path
        if not target.is_file() or not target.resolve().is_relative_to(folder.resolve()):
            found.append(Finding(path, "missing"))
        elif sha256(target) != digest:
            found.append(Finding(path, "changed"))
    return found


def verify(folder: Path, record: Record) -> list[Finding]:
    """Hash every file of a run again; an empty list means that each is what was written and none was added.

    The record itself is held against the hash in it.
    """
    listed = record.files
    added = [Finding(path, "added") for path in store.files(folder) if path not in listed]
    changed = [] if unbroken((folder / store.RECORD).read_bytes()) else [Finding(store.RECORD, "changed")]
    return [*changed, *check_files(folder, listed), *added]
