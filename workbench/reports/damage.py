"""What a report says of a run whose files are not what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import WorkbenchError
from ..records import store
from ..records.file_hashes import verify

SHOWN = 3
"""Files that are named; the others are counted."""


def damage(run: Any) -> str:
    """What is wrong with the files of a run, in a sentence; empty where nothing is, or where nothing lies on disk."""
    folder = Path(run.folder)
    try:
        found = verify(folder, store.read(folder))
    except (WorkbenchError, OSError):
        return ""
    if not found or run.record["status"] != "success":
        return ""
    told = ", ".join(f"{one.path} is {one.what}" for one in found[:SHOWN])
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"This run is damaged, and what is shown may not be what was computed: {told}{more}."
