"""Texts that visitors bring, kept under the runs by what they hold, so that a run that used one can be run again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...errors import UsageError, WorkbenchError
from ...files import write
from ...formatting import byte_size
from .limits import Limits

FOLDER = ".texts"
_ENDINGS = (".txt", ".jsonl", ".json")


def keep_text(runs: Path, content: bytes, name: str, limits: Limits) -> Path:
    """Keep a text and return its path, which is made from its sha256; of `name` only a known ending is used.

    Raises `UsageError` for what is empty, too large or no UTF-8 text, and `WorkbenchError` if there is no room.
    """
    if len(content) > limits.upload_bytes:
        raise UsageError(
            f"{byte_size(len(content))} are more than the {byte_size(limits.upload_bytes)} that a text may have"
        )
    try:
        blank = not content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise UsageError("this is not UTF-8 text") from None
    if blank:
        raise UsageError("there is no text in it")
    ending = Path(name).suffix.lower()
    folder = runs.resolve() / FOLDER
    path = folder / f"{hashlib.sha256(content).hexdigest()}{ending if ending in _ENDINGS else '.txt'}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    if sum(kept.stat().st_size for kept in folder.iterdir()) + len(content) > limits.kept_bytes:
        raise WorkbenchError(
            f"texts of visitors fill the {byte_size(limits.kept_bytes)} that they may take; ask who serves"
        )
    write(path, content)
    return path
