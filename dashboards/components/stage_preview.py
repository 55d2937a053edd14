"""What a running run has already found: the stages that its probe has finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import WorkbenchError
from ...records import results, store

_MOST = 2_000_000
"""Numbers of an array of which a mean is shown while the run is going on."""


@dataclass(frozen=True)
class ArraySummary:
    """One array of a finished stage."""

    stage: str
    name: str
    dims: str
    low: float | None
    mean: float | None
    high: float | None


def stages(folder: Path) -> list[Path]:
    """The finished stages of a run, the first finished first."""
    found = []
    for path in (folder / store.STAGES).glob("*.zarr"):
        try:
            found.append((path.stat().st_mtime, path))
        except OSError:  # the run ended meanwhile and took its stages away
            continue
    return [path for _, path in sorted(found)]


def arrays(stage: Path) -> list[ArraySummary]:
    """The arrays of a finished stage with their least, mean and greatest value; nothing if it is gone by now."""
    try:
        data = results.read_dataset(stage)
        return [_part(stage.stem, str(name), array) for name, array in data.data_vars.items()]
    except (OSError, KeyError, WorkbenchError):
        return []


def _part(stage: str, name: str, array: object) -> ArraySummary:
    dims = " × ".join(f"{size} {dim}" for dim, size in array.sizes.items())  # type: ignore[attr-defined]
    values = None
    if array.dtype.kind in "fiu" and 0 < array.size <= _MOST:  # type: ignore[attr-defined]
        values = [float(getattr(array, of)()) for of in ("min", "mean", "max")]
    return ArraySummary(stage, name, dims or "one number", *(values or (None, None, None)))
