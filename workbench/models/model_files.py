"""What lies in a model's folder: whether it is all there, and what was noted about it when it was fetched."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from .. import files
from ..errors import WorkbenchError
from ..progress import Reporter

NOTE = "workbench.json"
"""File beside the weights of a fetched model: sha256 of each file, fingerprint, source, versions."""


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    files.write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size, time of change and sha256 of each file of a folder, the note left out."""
    return {
        path.name: {"bytes": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns, "sha256": files.sha256(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != NOTE
    }


def note(folder: Path) -> dict[str, Any] | None:
    """What was noted about a fetched model, or None where nothing readable is."""
    try:
        value = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("files"), dict) else None


def is_complete(folder: Path) -> bool:
    """Whether every file that was noted is there in its full size; a matter of milliseconds."""
    noted = note(folder)
    return noted is not None and all(
        (folder / name).is_file() and (folder / name).stat().st_size == file["bytes"]
        for name, file in noted["files"].items()
    )


def is_intact(folder: Path, reporter: Reporter) -> bool:
    """Whether every file that was noted still has its sha256; reads all bytes."""
    noted = note(folder)
    return (
        noted is not None
        and is_complete(folder)
        and all(files.sha256(folder / name, reporter) == file["sha256"] for name, file in noted["files"].items())
    )


def check_weights(folder: Path, mend: str) -> None:
    """Check that the safetensors files of a folder are all there and as long as their headers say.

    `mend` says what to do otherwise. Raises `WorkbenchError`.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WorkbenchError(f"{index} is not readable as an index of weights: {mend}") from None
    else:
        shards = ["model.safetensors"]
    for shard in shards:
        path = folder / Path(shard).name
        if not path.is_file():
            raise WorkbenchError(f"{folder} lacks {path.name}: {mend}")
        size, promised = path.stat().st_size, _promised_bytes(path)
        if promised != size:
            told = "its header is not readable" if promised is None else f"{size} bytes of {promised}"
            raise WorkbenchError(f"{path} is incomplete ({told}): {mend}")


def _promised_bytes(path: Path) -> int | None:
    """The size of a safetensors file according to its header, or None if there is no readable header."""
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            return None
        length = struct.unpack("<Q", start)[0]
        if length > path.stat().st_size:
            return None
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
    return 8 + length + max(ends, default=0)
