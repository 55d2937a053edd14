"""Take up a run that stopped before its end, in the same folder, with the stages it had finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..records import store
from ..records.environment import environment
from ..records.record import Record

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
    if wanted and not record.spec.resolved:
        raise UsageError(f"run {record.id} was refused before it began; there is nothing to resume")
    info = prepared.session.info.model_dump(mode="json")
    differing = [
        *changed(record.spec.resolved, wanted, record.spec.seed, prepared.seed),
        *(
            f"the model's {name} was {value!r} and is now {info.get(name)!r}"
            for name, value in _model(record).items()
            if name != "id" and value != info.get(name)
        ),
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
