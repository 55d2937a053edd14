"""Take up a run that stopped before its end, in the same folder, with the stages it had finished."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..records import store
from ..records.environment import environment
from ..records.record import Record

if TYPE_CHECKING:
    from .execute import Prepared

_MODEL = ("id", "fingerprint", "tokenizer_sha256", "dtype", "engine", "adapter")
"""What must be the same for stages of two attempts to belong together."""


def _model(record: Record) -> dict[str, Any]:
    return record.model.model_dump(mode="json", include=set(_MODEL))


def stage_key(record: Record) -> str:
    """What a finished stage depends on: probe, settings, seed, model, and the version of this package."""
    parts = {
        "probe": record.probe,
        "settings": record.spec.resolved,
        "seed": record.spec.seed,
        "model": {name: value for name, value in _model(record).items() if name != "id"},
        "version": record.environment.packages.get("workbench"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def check_resumable(record: Record, prepared: Prepared) -> Record:
    """The record, if the prepared run asks for the same; raises `UsageError` saying what differs."""
    if record.status in ("success", "started"):
        done = "is already done" if record.status == "success" else "is still running"
        raise UsageError(f"run {record.id} {done}; there is nothing to resume")
    if record.probe != prepared.probe.name:
        raise UsageError(f"run {record.id} is of the probe {record.probe!r}, not {prepared.probe.name!r}")
    wanted = prepared.config.model_dump(mode="json")
    before = record.spec.resolved
    differing = [
        f"setting {name!r} was {before.get(name)!r} and is now {wanted.get(name)!r}"
        for name in sorted(before.keys() | wanted.keys())
        if before.get(name) != wanted.get(name)
    ]
    if record.spec.seed != prepared.seed:
        differing.append(f"the seed was {record.spec.seed} and is now {prepared.seed}")
    info = prepared.session.info.model_dump(mode="json")
    differing += [
        f"the model's {name} was {value!r} and is now {info.get(name)!r}"
        for name, value in _model(record).items()
        if name != "id" and value != info.get(name)
    ]
    if differing:
        raise UsageError(f"run {record.id} cannot be resumed: {'; '.join(differing)}; start a new run instead")
    return record


def reopened(record: Record, prepared: Prepared) -> Record:
    """The record of a run that starts again; what it took before is kept, and stages of another version are not."""
    record.status = "started"
    record.error = None
    record.finished = None
    record.resumed = [*record.resumed, store.now()]
    record.environment = environment()
    record.model = prepared.session.info
    record.plan = prepared.plan
    return record
