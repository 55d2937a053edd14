"""What a running run has already found: the stages that its probe has finished."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
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


_READER = ThreadPoolExecutor(1, "stage previews")
"""Reads for all visitors: a stage may be large, and the thread that answers them has others to answer."""


class StagePreview:
    """What the finished stages of one run hold, as far as it was read by now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: Future[list[ArraySummary]] | None = None
        self._found: list[ArraySummary] = []

    def so_far(self) -> list[ArraySummary]:
        """The arrays of all stages that were read by now, the first finished first; nothing is waited for."""
        if self._read is not None and self._read.done():
            self._found, self._read = self._read.result(), None
        if self._read is None:
            self._read = _READER.submit(_all, self._folder)
        return self._found


def _all(folder: Path) -> list[ArraySummary]:
    return [part for stage in stages(folder) for part in arrays(stage)]


def stages(folder: Path) -> list[Path]:
    """The finished stages of a run, the first finished first."""
    found = []
    for path in (folder / store.STAGES).glob("*.zarr"):
        try:
            found.append((path.stat().st_mtime, path))
        except OSError:  # the run ended meanwhile and took its stages away
            continue
    return [path for _, path in sorted(found)]


@lru_cache(512)
def arrays(stage: Path) -> Sequence[ArraySummary]:
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
