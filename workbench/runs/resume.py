"""Take up a run that stopped before its end, in the same folder, with the stages it had finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..records import store
from ..records.environment import environment
from ..records.record import ModelInfo, Record

if TYPE_CHECKING:
    from .prepare import Prepared


@dataclass(frozen=True)
class Request:
    """What a run was asked. `resolved` are its settings as they were resolved then, None where they still are to be."""

    preset: str
    seed: int
    given: dict[str, Any]
    resolved: dict[str, Any] | None

    def again(
        self, preset: str | None = None, seed: int | None = None, given: Mapping[str, Any] | None = None
    ) -> Request:
        """The same asked again: what is not said again is as it was. Another preset starts from its own settings."""
        given = dict(given or {})
        seed = self.seed if seed is None else seed
        if preset is not None and preset != self.preset:
            return Request(preset, seed, given, None)
        resolved = None if self.resolved is None else {**self.resolved, **given}
        return Request(self.preset, seed, {**self.given, **given}, resolved)


def request_of(record: Record) -> Request:
    """What a run was asked, to ask it again.

    Whoever goes on with a run or repeats one (the command line, the pages, `wb.run`, a suite) starts from this.
    """
    spec = record.spec
    # one that was refused before it began has no resolved settings
    return Request(record.preset, spec.seed, dict(spec.given), dict(spec.resolved) or None)


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


def refuse_unstopped(record: Record) -> None:
    """Raise `UsageError` for a run that did not stop before its end."""
    if record.status in ("success", "started"):
        done = "is already done" if record.status == "success" else "is still running"
        raise UsageError(f"run {record.id} {done}; there is nothing to resume")


def check_resumable(record: Record, prepared: Prepared, model: ModelInfo) -> Record:
    """The record, if the prepared run asks for the same of the same model; raises `UsageError` saying what differs."""
    refuse_unstopped(record)
    if record.probe != prepared.probe.name:
        raise UsageError(f"run {record.id} is of the probe {record.probe!r}, not {prepared.probe.name!r}")
    wanted = prepared.config.model_dump(mode="json")
    if wanted and not record.spec.resolved:
        raise UsageError(f"run {record.id} was refused before it began; there is nothing to resume")
    differing = [
        *changed(record.spec.resolved, wanted, record.spec.seed, prepared.seed),
        *_other_model(record.model, model),
    ]
    if differing:
        raise UsageError(f"run {record.id} cannot be resumed: {'; '.join(differing)}; start a new run instead")
    return record


def changed(before: Mapping[str, Any], wanted: Mapping[str, Any], seed: int, now: int) -> list[str]:
    """Settings and seed that differ from those of an attempt that stopped, in words."""
    found = [
        f"setting {name!r} was {before.get(name)!r} and is now {wanted.get(name)!r}"
        for name in sorted(before.keys() | wanted.keys())
        if before.get(name) != wanted.get(name)
    ]
    return [*found, *([f"the seed was {seed} and is now {now}"] if seed != now else [])]


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
