"""Files that are written whole or not at all, and the hash that tells what one holds."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .progress import Reporter

_DRAFT = ".draft"
_BLOCK = 1 << 24
"""Bytes that are hashed between two words on where it is."""


@contextmanager
def draft(target: Path, place: Path | None = None) -> Iterator[Path]:
    """Where to write a file or a folder that takes the place of `target`, in one step, once it is whole.

    If anything is raised meanwhile, what was there stays. Drafts lie beside the target, or in `place` on the same disk;
    each has a name of its own, so any number of threads and processes may write the same target: the last one wins.
    """
    made = (place or target.parent) / f".{secrets.token_hex(8)}{_DRAFT}"
    made.mkdir(parents=place is not None)
    try:
        # The draft has the target's own name: there are writers that tell the format by it.
        yield made / target.name
        if target.is_dir():
            target.rename(made / "old")
        (made / target.name).replace(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all; a text is written as UTF-8."""
    with draft(path) as made:
        made.write_bytes(content.encode() if isinstance(content, str) else content)


def write_durably(path: Path, text: str) -> None:
    """Write a file that is on the disk when this returns."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def remove_drafts(folder: Path) -> None:
    """Remove the drafts that a dead process left in a folder of which no living one writes a file."""
    for left in folder.glob(f".*{_DRAFT}"):
        shutil.rmtree(left, ignore_errors=True)


def sha256(path: Path, reporter: Reporter | None = None, stage: str = "check") -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if reporter is not None:
                reporter.send(done, total, stage)
    return digest.hexdigest()
