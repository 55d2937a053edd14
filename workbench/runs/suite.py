"""Every probe that suits a model, and one report of them all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import tracebacks
from ..errors import Cancelled, UnknownName, UsageError, WorkbenchError
from ..probe import settings
from ..probe.registry import PROBES
from ..progress import Listener
from ..records import store
from .execute import execute, record_refusal
from .prepare import prepare
from .resume import Request, refuse_unstopped, request_of
from .run import Run

if TYPE_CHECKING:
    from ..internals.session import Session
    from ..probe.contract import Probe
    from ..records.record import Record


@dataclass
class Suite:
    """What came of a suite: the runs in order, the probes that failed or do not suit the model, and the report."""

    runs: list[Run] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unsuitable: dict[str, str] = field(default_factory=dict)
    report: Path | None = None


def given_to(probes: Sequence[Probe], pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Which probe gets which of the settings: each goes to every probe that has it.

    Raises `UnknownName` for a setting that no probe has.
    """
    known = {name for probe in probes for name in probe.Config.model_fields}
    for pair in pairs:
        name, sign, _ = pair.partition("=")
        if sign and name.strip() not in known:
            raise UnknownName("setting of any probe", name.strip(), known)
    return {
        probe.name: settings.parse(
            [pair for pair in pairs if "=" not in pair or pair.partition("=")[0].strip() in probe.Config.model_fields],
            probe.Config,
        )
        for probe in probes
    }


def suite(
    session: Session,
    folder: str | os.PathLike[str],
    preset: str | None = None,
    seed: int | None = None,
    runs: str | os.PathLike[str] = "runs",
    given: Mapping[str, Mapping[str, Any]] | None = None,
    resume: str | None = None,
    memory: int | None = None,
    progress: Listener | None = None,
) -> Suite:
    """Run every probe and write the report `folder/index.html`; a probe that fails does not lose the others.

    The preset is `quick` and the seed 0 unless told otherwise. `given` has settings by probe. `resume` names a run that
    stopped: its probe goes on from there, and what is not said again is for it as it was. Raises `UsageError`, before
    anything runs, for a run that cannot be gone on with and for a folder that cannot hold the report.
    """
    from ..reports import write

    done = Suite()
    stopped = store.find(resume, runs) if resume is not None else None
    before = store.read(stopped) if stopped is not None else None
    if before is not None:
        _refuse_unfit(before, session)
    _need_folder(Path(folder))
    for name in PROBES.names():
        began: list[Path] = []
        probe: Probe | str = name
        values = dict((given or {}).get(name, {}))
        asked = Request(preset or "quick", seed or 0, values, None)
        try:
            probe = PROBES.get(name)
            if why := probe.unsuitable(session):
                done.unsuitable[name] = why
                continue
            goes_on = before is not None and before.probe == name
            if before is not None and goes_on:
                asked = request_of(before).again(preset, seed, values)
            prepared = prepare(probe, session, asked.preset, asked.seed, asked.given, memory, asked.resolved)
            execute(prepared, runs, progress, stopped if goes_on else None, began.append)
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as error:
            known = isinstance(error, WorkbenchError)
            done.failed[name] = str(error) if known else f"{type(error).__name__}: {error}"
            if not began:
                try:
                    began.append(record_refusal(probe, session, asked.preset, asked.seed, asked.given, error, runs))
                except (OSError, WorkbenchError) as failure:
                    tracebacks.log(error, f"the probe {name} was refused, and no record of it could be kept")
                    done.failed[name] += f" (no record of it could be kept: {failure})"
        done.runs += [Run(path) for path in began]
    if not done.runs:
        raise WorkbenchError(f"no probe ran on {session.info.id}: {_why_none(done)}")
    done.report = write(done.runs, Path(folder) / "index.html", "html")
    return done


def _refuse_unfit(before: Record, session: Session) -> None:
    """Raise `UsageError` if a suite on this model would pass over the run that it is to go on with."""
    refuse_unstopped(before)
    if before.probe not in PROBES.names():
        raise UsageError(f"run {before.id} cannot be resumed: its probe {before.probe!r} is not here")
    if why := PROBES.get(before.probe).unsuitable(session):
        raise UsageError(f"run {before.id} cannot be resumed: {before.probe} does not suit {session.info.id}: {why}")


def _need_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot hold the report: {error.strerror}; name another folder") from error


def _why_none(done: Suite) -> str:
    reasons = {**done.failed, **done.unsuitable}
    return "; ".join(f"{name}: {why}" for name, why in reasons.items()) or "there are no probes"
