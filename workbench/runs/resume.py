"""Take up a run that stopped before its end, in the same folder, with the stages it had finished."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..records import store
from ..records.environment import environment
from ..records.record import ModelInfo, Record

if TYPE_CHECKING:
    from .prepare import Prepared

_MODEL = (
    "id", "fingerprint", "config_sha256", "tokenizer_sha256", "state_sha256", "ends", "dtype", "engine", "attention",
    "adapter",
)  # fmt: skip
"""What must be the same for stages of two attempts to belong together."""
_LATER = ("state_sha256", "ends")
"""Of these, what records of earlier versions do not have."""


def _model(model: ModelInfo) -> dict[str, Any]:
    return model.model_dump(mode="json", include=set(_MODEL))


def told(record: Record) -> datetime | None:
    """The time that chat templates were told in a run, None where they did not ask."""
    return None if record.spec.clock is None else datetime.fromisoformat(record.spec.clock)


def stage_key(record: Record) -> str:
    """What a finished stage depends on: probe, settings, seed, model, and the version of this package."""
    parts = {
        "probe": record.probe,
        "settings": record.spec.resolved,
        "seed": record.spec.seed,
        "model": {name: value for name, value in _model(record.model).items() if name != "id"},
        "clock": record.spec.clock,
        "version": record.environment.packages.get("workbench"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def check_resumable(record: Record, prepared: Prepared, model: ModelInfo) -> Record:
    """The record, if the prepared run asks for the same of the same model; raises `UsageError` saying what differs."""
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
    differing += _other_model(record.model, model)
    if differing:
        raise UsageError(f"run {record.id} cannot be resumed: {'; '.join(differing)}; start a new run instead")
    return record


def _other_model(before: ModelInfo, model: ModelInfo) -> list[str]:
    """What shows that two models are not the same one, or that nothing can show that they are."""
    if model.fingerprint is None:
        return ["the model's weights are not in memory, so nothing can show that they are still the same"]
    if before.state or model.state:
        carried = "; ".join(dict.fromkeys((*before.state, *model.state)))
        return [f"the model ran or runs with {carried}, and no record can tell whether that is still the same"]
    was, now = _model(before), _model(model)
    return [
        f"the model's {name} was {was[name]!r} and is now {now[name]!r}"
        for name in _MODEL
        if name != "id" and was[name] != now[name] and not (name in _LATER and was[name] is None)
    ]


def reopened(record: Record, prepared: Prepared, model: ModelInfo) -> Record:
    """The record of a run that starts again; what it took before is kept, and stages of another version are not."""
    record.status = "started"
    record.error = None
    record.finished = None
    record.resumed = [*record.resumed, store.now()]
    record.environment = environment()
    record.model = model
    record.plan = prepared.plan
    return record
