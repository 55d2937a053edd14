"""Run something again as its record says, and see whether the same comes out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WorkbenchError
from ..progress import Listener, Reporter
from ..records import results
from ..records.comparison import compare, sources_that_differ
from ..records.record import ModelInfo
from .execute import execute
from .prepare import prepare
from .resume import request_of, told
from .run import Run

if TYPE_CHECKING:
    from ..internals.session import Session

RTOL, ATOL = 1e-4, 1e-6
"""Two machines add float32 numbers in different orders; metrics of the same run agree within this."""


def load_again(
    model: ModelInfo, trust_remote_code: bool = False, progress: Reporter | None = None, device: str | None = None
) -> Session:
    """Load the model of a run or a training as it was loaded then, or on another device.

    Raises `WorkbenchError` for a model that was in memory, and `UsageError` for a device that is not here.
    """
    from ..internals.session import load

    if model.id.startswith("in-memory/"):
        raise WorkbenchError(
            f"the model {model.id!r} was given from memory and cannot be loaded by name; run it again from Python"
        )
    if device is None and model.device and not model.device_map and "," not in model.device:
        device = model.device
    return load(
        model.id,
        engine=model.engine or "hf",
        adapter=model.adapter.id if model.adapter else None,
        device=device,
        dtype=model.dtype if model.dtype and "," not in model.dtype else None,
        device_map=None if device else model.device_map,
        trust_remote_code=trust_remote_code,
        revision=model.revision,
        progress=progress,
    )


def rerun(
    run: Run,
    session: Session,
    runs: str | os.PathLike[str] = "runs",
    progress: Listener | Reporter | None = None,
    started: Callable[[Path], None] = lambda folder: None,
) -> Run:
    """Run with the resolved settings and the seed of a run, into a folder of its own; what was given stays told."""
    record = run.typed_record
    asked = request_of(record)
    prepared = prepare(
        record.probe, session, asked.preset, asked.seed, asked.given, clock=told(record), resolved=asked.resolved
    )
    return Run(execute(prepared, runs, progress, started=started))


def agreement(first: Run, second: Run, rtol: float = RTOL, atol: float = ATOL) -> dict[str, Any]:
    """Whether two runs of the same came out the same: `same`, the headlines side by side, and the data that differ.

    `sources` are the files and texts that were read and are not what they were, each with its two hashes. A headline
    differs if its value or an end of its interval does, beyond `atol + rtol·|first|`.
    """
    one, two = first.typed_record, second.typed_record
    theirs = {headline.name: headline for headline in two.headline}
    rows = []
    for headline in one.headline:
        other = theirs.pop(headline.name, None)
        parts = ("value", "low", "high")
        same = other is not None and all(_close(getattr(headline, p), getattr(other, p), rtol, atol) for p in parts)
        rows.append(
            {"name": headline.name, "first": headline.value, "second": other.value if other else None, "same": same}
        )
    rows += [{"name": name, "first": None, "second": other.value, "same": False} for name, other in theirs.items()]
    data = results.differences(first.data, second.data, rtol, atol)
    return {
        "runs": [one.id, two.id],
        "same": not data and all(row["same"] for row in rows),
        "rtol": rtol,
        "atol": atol,
        "headlines": rows,
        "data": data,
        "sources": sources_that_differ(one, two),
        "model": compare([one, two])["model"],
    }


def _close(first: float | None, second: float | None, rtol: float, atol: float) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=rtol, abs_tol=atol)
