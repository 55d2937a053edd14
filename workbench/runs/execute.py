"""Run a probe and keep what happened, whatever happens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import tracebacks
from ..errors import Cancelled, WorkbenchError
from ..formatting import sentence
from ..internals import session_checks
from ..internals.chat_text import clock_at
from ..probe.contract import Outcome, Probe
from ..probe.run_context import StagedRunContext
from ..progress import Listener, Reporter
from ..records import results, store
from ..records.environment import environment
from ..records.heartbeat import Heart
from ..records.record import ErrorInfo, ModelInfo, Record, Spec
from . import plan as planning
from .prepare import Prepared
from .resume import check_resumable, reopened, stage_key, told

if TYPE_CHECKING:
    from ..internals.session import Session


def execute(
    prepared: Prepared,
    runs: str | os.PathLike[str] = "runs",
    progress: Listener | Reporter | None = None,
    resume: str | os.PathLike[str] | None = None,
    started: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Run a probe into a folder of its own and return the folder.

    The record is there from the start. Whatever is raised on the way is recorded, then raised again: a cancel or an
    interrupt as `cancelled`, anything else as `error`. `started` is told the folder as soon as there is one.
    Raises `OverBudget`, before anything is written, if the plan needs more memory than it may take.
    """
    planning.refuse_over_budget(prepared.probe, prepared.session, prepared.config, prepared.plan)
    reporter = progress if isinstance(progress, Reporter) else Reporter(progress)
    began_with = prepared.session.moment()
    try:
        folder, record, heart = _begin(prepared, Path(runs), reporter, resume)
    except OSError as error:
        if store.is_full(error):
            raise WorkbenchError(f"the disk is full: free some space under {runs}, nothing was begun") from error
        raise
    began, before = time.monotonic(), record.stats.seconds

    def finish(status: str, error: BaseException | None = None) -> None:
        if heart.taken:
            raise OSError(f"{folder} was removed or taken over by another process")
        record.stats.seconds = before + time.monotonic() - began
        record.stats.peak_bytes = max(record.stats.peak_bytes, heart.peak_bytes, _device_peak())
        record.finished = store.now()
        record.status = status  # type: ignore[assignment]
        if error is not None:
            store.remove_partial(folder)
            record.error = _error(error)
        store.write_record(folder, record)

    try:
        heart.start()
        started(folder)
        context = StagedRunContext(prepared.seed, reporter, folder, stage_key(record), began_with.check_weights)
        with clock_at(told(record)):
            _fill(prepared, context, record, began_with.check)
        finish("success")
    except BaseException as error:
        said = _told(error, folder)
        if said is not error:
            said.__cause__ = error  # before it is kept: the record says where it came from
        stopped = isinstance(error, Cancelled) or not isinstance(error, Exception)
        try:
            finish("cancelled" if stopped else "error", said)
        except OSError as failure:
            said.add_note(f"its record could not be completed either: {failure}")
        if said is error:
            raise
        raise said from error
    finally:
        heart.stop()
        store.remove_partial(folder)
    store.remove_stages(folder)
    return folder


def _begin(
    prepared: Prepared, runs: Path, reporter: Reporter, resume: str | os.PathLike[str] | None
) -> tuple[Path, Record, Heart]:
    session = prepared.session
    reset_device_peak()
    if resume is not None:
        folder = store.find(resume, runs)
        model = session.identified()
        record = check_resumable(store.read(folder), prepared, model)
        heart = Heart(folder, reporter.cancelled.set)
        store.claim(folder, heart)
        record = reopened(record, prepared, model)
        try:
            store.write_record(folder, record)
        except BaseException:
            heart.stop()
            raise
        return folder, record, heart
    typed = type(prepared.config).model_construct(**prepared.given)
    given = typed.model_dump(mode="json", include=set(prepared.given), warnings=False)
    resolved, clock = prepared.config.model_dump(mode="json"), prepared.clock
    spec = Spec(given=given, resolved=resolved, seed=prepared.seed, clock=clock.isoformat() if clock else None)
    record = _started(prepared.probe, session.identified(), prepared.preset, spec)
    record.plan = prepared.plan
    folder, heart = store.create(runs, record, lambda path: Heart(path, reporter.cancelled.set))
    return folder, record, heart


def _started(probe: Probe | str, model: ModelInfo, preset: str, spec: Spec) -> Record:
    created = store.now()
    name, question, method = (probe, "", "") if isinstance(probe, str) else (probe.name, probe.question, probe.method)
    return Record(
        id=store.new_id(name, spec.model_dump_json() + str(model.fingerprint)),
        probe=name,
        question=question,
        method=method,
        preset=preset,
        created=created,
        started=created,
        model=model,
        spec=spec,
        environment=environment(),
    )


def _error(error: BaseException) -> ErrorInfo:
    return ErrorInfo(kind=type(error).__name__, message=str(error), traceback=tracebacks.told(error))


def record_refusal(
    probe: Probe | str,
    session: Session,
    preset: str,
    seed: int,
    given: Mapping[str, Any],
    error: Exception,
    runs: str | os.PathLike[str],
) -> Path:
    """Keep a record of a run that was refused before it began, for a report that must not leave it out.

    A probe that cannot be loaded is told by its name.
    """
    spec = Spec(given=json.loads(json.dumps(dict(given), default=str)), seed=seed)
    record = _started(probe, session.info, preset, spec)
    record.status, record.finished = "error", record.created
    record.error = _error(error)
    folder, heart = store.create(Path(runs), record, lambda path: Heart(path, lambda: None))
    heart.stop()
    return folder


def _fill(prepared: Prepared, context: StagedRunContext, record: Record, check_model: Callable[[], None]) -> None:
    """Let the probe answer, check what it says and that it is of one model, write everything but the final status."""
    from ..figures import save

    probe, folder, progress = prepared.probe, context.folder, context.progress
    outcome = probe.run(prepared.session, prepared.config, context)
    if not isinstance(outcome, Outcome):
        raise results.SchemaError(f"the probe {probe.name!r} returned {type(outcome).__name__}, not an Outcome")
    check_model()
    progress.send(0, 3, "writing")
    data = results.stamp(outcome.data, probe.name, record.model, prepared.seed, record.created)
    results.check(data)
    _check_names(outcome)
    store.put(folder, "data.zarr", lambda path: results.write_tree(data, path))
    if outcome.tables:
        store.put(folder, "tables", lambda path: _write_tables(outcome, path))
    if outcome.tensors:
        store.put(folder, "tensors.safetensors", lambda path: results.write_tensors(outcome.tensors, path))
    record.headline = list(outcome.headlines)
    record.checks = [*session_checks.cached_checks(prepared.session), *outcome.checks]
    record.limits = [sentence(limit) for limit in (*_limits(record), *outcome.limits)]
    record.data = list(outcome.sources)
    record.summary = list(probe.summary(data, record))
    progress.send(1, 3, "drawing figures")
    figures = probe.figures(data, record)
    record.figures = [figure.name for figure in figures]

    def draw(path: Path) -> None:
        path.mkdir()
        for figure in figures:
            save(figure, path)

    store.put(folder, "figures", draw)
    progress.send(2, 3, "hashing files")
    record.files = store.hash_files(folder)
    record.error = None
    progress.send(3, 3, "hashing files")


def _check_names(outcome: Outcome) -> None:
    names = [headline.name for headline in outcome.headlines]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise results.SchemaError(f"two headlines have the name {sorted(repeated)[0]!r}")
    for name in outcome.tables:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise results.SchemaError(f"{name!r} cannot name a table: write letters, digits, hyphens and underscores")


def _write_tables(outcome: Outcome, path: Path) -> None:
    path.mkdir()
    for name, table in outcome.tables.items():
        results.write_table(table, path / f"{name}.csv")


def _limits(record: Record) -> list[str]:
    quantisation, state = record.model.quantisation, record.model.state
    told = []
    if quantisation:
        told.append(
            f"The weights were quantised: {quantisation}. What was measured holds for them, not for the original ones."
        )
    if state:
        told.append(f"The model ran with {'; '.join(state)}. What was measured holds for it as it was then.")
    return told


def _told(error: BaseException, folder: Path) -> BaseException:
    """The error as the user should hear it: a full disk and a lack of memory in plain words."""
    again = f"`workbench run --resume {folder}` goes on from there"
    if store.is_full(error):
        return WorkbenchError(f"the disk is full: free some space, then {again}")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return WorkbenchError(f"out of memory; choose smaller settings, or allow the run less ({folder.name})")
    error.add_note(f"recorded in {folder}")
    return error


def _device_peak() -> int:
    import torch

    return sum(torch.cuda.max_memory_allocated(device) for device in _gpus())


def reset_device_peak() -> None:
    """Count the memory of the GPUs from here on."""
    import torch

    for device in _gpus():
        torch.cuda.reset_peak_memory_stats(device)


def _gpus() -> range:
    """The GPUs that this process uses; without a model on one it uses none."""
    import torch

    return range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
