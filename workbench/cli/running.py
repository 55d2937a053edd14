"""`workbench plan`, `run`, `suite` and `rerun`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError, WorkbenchError
from ..formatting import byte_size, duration, strip_control
from ..records.describe import control, number
from . import options as given
from .output import as_json, columns, line

if TYPE_CHECKING:
    from ..records.record import Record


@contextmanager
def _fitting_options() -> Iterator[None]:
    """Name what would fit as the options that ask for it, where a run is refused for its memory."""
    from ..runs.plan import OverBudget, SmallerSetting

    def option(one: SmallerSetting) -> str:
        return f"--preset {one.value}" if one.setting == "preset" else f"--set {one.setting}={one.value}"

    try:
        yield
    except OverBudget as error:
        raise WorkbenchError(error.told(option, "raise the limit with --memory")) from error


ProbeName = Annotated[str, typer.Argument(metavar="PROBE", help="`workbench probes` lists them.")]


def plan(
    probe: ProbeName,
    model: given.Model = None,
    adapter: given.Adapter = None,
    engine: given.Engine = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    device_map: given.DeviceMap = None,
    revision: given.Revision = None,
    trust_remote_code: given.Trust = False,
    preset: given.Preset = None,
    settings: given.Settings = None,
    seed: given.Seed = None,
    memory: given.Memory = None,
    json: given.Json = False,
) -> None:
    """What a run would take: passes, memory, seconds."""
    from ..probe.registry import PROBES
    from ..probe.settings import parse, resolve
    from ..runs.plan import refuse_over_budget
    from ..runs.prepare import prepare

    found = PROBES.get(probe)
    values = parse(settings or (), found.Config)
    resolve(found.Config, found.presets, preset or "quick", values)
    session = given.load_session(model, adapter, engine, device, dtype, device_map, revision, trust_remote_code)
    prepared = prepare(found, session, preset or "quick", seed or 0, values, memory)
    made = prepared.plan
    if json:
        as_json(made.model_dump(mode="json"))
    else:
        columns(
            ("", ""),
            [
                ("passes", made.passes),
                ("memory", f"{byte_size(made.bytes)} of {byte_size(made.budget)} that it may take"),
                ("time", f"about {duration(made.seconds)}"),
                ("writes", ", ".join(made.outputs)),
            ],
        )
    with _fitting_options():
        refuse_over_budget(found, session, prepared.config, made)


def run(
    probe: Annotated[str | None, typer.Argument(metavar="PROBE", help="`workbench probes` lists them.")] = None,
    model: given.Model = None,
    adapter: given.Adapter = None,
    engine: given.Engine = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    device_map: given.DeviceMap = None,
    revision: given.Revision = None,
    trust_remote_code: given.Trust = False,
    preset: given.Preset = None,
    settings: given.Settings = None,
    seed: given.Seed = None,
    resume: given.Resume = None,
    runs: given.Runs = Path("runs"),
    memory: given.Memory = None,
    json: given.Json = False,
) -> None:
    """Run a probe on a model and keep the result; with --resume, go on with a run that stopped."""
    from ..probe.registry import PROBES
    from ..probe.settings import parse, resolve
    from ..progress_bars import cli_progress
    from ..records import store
    from ..runs.execute import execute
    from ..runs.prepare import prepare
    from ..runs.rerun import load_again
    from ..runs.resume import Request, request_of

    stopped = None if resume is None else store.read(store.find(resume, runs))
    if stopped is None and probe is None:
        raise UsageError("name a probe; `workbench probes` lists them")
    found = PROBES.get(probe or stopped.probe)  # type: ignore[union-attr]
    values = parse(settings or (), found.Config)
    asked = Request(preset or "quick", seed or 0, values, None)
    if stopped is not None:
        asked = request_of(stopped).again(preset, seed, values)
    resolve(found.Config, found.presets, asked.preset, asked.given if asked.resolved is None else asked.resolved)
    named = (model, adapter, engine, device, dtype, device_map, revision)
    if stopped is not None and all(value is None for value in named):
        session = load_again(stopped.model, trust_remote_code)
    else:
        session = given.load_session(*named, trust_remote_code)
    prepared = prepare(found, session, asked.preset, asked.seed, asked.given, memory, asked.resolved)
    began: list[Path] = []
    try:
        with _fitting_options(), cli_progress() as listener:
            execute(prepared, runs, listener, resume, began.append)
    except (Exception, KeyboardInterrupt) as error:
        if not began:
            raise
        if json:
            as_json(store.as_dict(store.read(began[0])))
        raise _failure(error, began[0]) from error
    record = store.read(began[0])
    if json:
        as_json(store.as_dict(record))
    else:
        say_result(record, began[0])


def _failure(error: BaseException, folder: Path) -> WorkbenchError:
    """One line for a run that did not end well, and where its record is."""
    if isinstance(error, KeyboardInterrupt):
        return WorkbenchError(f"stopped; `workbench run --resume {folder}` goes on from there")
    if isinstance(error, WorkbenchError):
        kind = UsageError if error.exit_status == 2 else WorkbenchError
        return kind(f"{error} (recorded in {folder})")
    return WorkbenchError(f"{type(error).__name__}: {error} (`workbench show {folder}` has the traceback)")


def say_result(record: Record, folder: Path) -> None:
    """The answer of a run, for someone who reads a terminal."""
    for sentence in record.summary:
        line(sentence)
    columns(
        ("headline", "value", "n", "control"),
        [(one.name, number(one), one.n, control(one)) for one in record.headline],
    )
    for check in record.checks:
        if not check.passed:
            line(f"check failed: {check.name}: {check.detail}")
    line(f"{duration(record.stats.seconds)}, {byte_size(record.stats.peak_bytes)}; kept in {folder}")


def suite(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the report.")],
    model: given.Model = None,
    adapter: given.Adapter = None,
    engine: given.Engine = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    device_map: given.DeviceMap = None,
    revision: given.Revision = None,
    trust_remote_code: given.Trust = False,
    preset: given.Preset = None,
    settings: given.Settings = None,
    seed: given.Seed = None,
    resume: given.Resume = None,
    runs: given.Runs = Path("runs"),
    memory: given.Memory = None,
    json: given.Json = False,
) -> None:
    """Every probe that suits the model, and one report of them all."""
    from ..probe.registry import PROBES
    from ..probe.settings import resolve
    from ..progress_bars import cli_progress
    from ..runs.suite import given_to
    from ..runs.suite import suite as run_suite

    probes, broken = PROBES.loaded()
    values = given_to(probes, settings or ())
    for probe in probes:
        resolve(probe.Config, probe.presets, preset or "quick", values[probe.name])
    session = given.load_session(model, adapter, engine, device, dtype, device_map, revision, trust_remote_code)
    with cli_progress() as listener:
        done = run_suite(session, output, preset, seed, runs, values, resume, memory, listener)
    if json:
        as_json(
            {
                "report": str(done.report),
                "runs": [run.record for run in done.runs],
                "failed": done.failed,
                "unsuitable": done.unsuitable,
            }
        )
    else:
        columns(("probe", "status", "run"), [(run.record["probe"], run.status, run.id) for run in done.runs])
        for name, why in done.unsuitable.items():
            line(f"{name} does not suit this model: {why}")
        line(f"report: {done.report}")
    if done.failed:
        said = "; ".join(f"{name}: {why}" for name, why in done.failed.items())
        raise WorkbenchError(f"{len(done.failed)} of {len(probes) + len(broken)} probes failed: {strip_control(said)}")


def rerun(
    run: given.RunName,
    runs: given.Runs = Path("runs"),
    rtol: Annotated[float, typer.Option("--rtol", min=0.0, help="Relative difference that counts as the same.")] = 1e-4,
    device: given.Device = None,
    trust_remote_code: given.Trust = False,
    json: given.Json = False,
) -> None:
    """Run something again as its record says (on another device, if one is named), and compare what comes out."""
    from ..progress_bars import cli_progress
    from ..runs import rerun as again
    from ..runs.api import open_run

    before = open_run(run, runs)
    if before.status != "success":
        hint = f"`workbench run --resume {run}` goes on with it" if before.status != "started" else "wait for it"
        raise WorkbenchError(f"run {before.id} has no result to compare with, its status is {before.status!r}; {hint}")
    began: list[Path] = []
    session = again.load_again(before.typed_record.model, trust_remote_code, device=device)
    try:
        with _fitting_options(), cli_progress() as listener:
            after = again.rerun(before, session, runs, listener, began.append)
    except (Exception, KeyboardInterrupt) as error:
        raise (_failure(error, began[0]) if began else error) from error
    found = again.agreement(before, after, rtol)
    if json:
        as_json(found)
    else:
        columns(
            ("headline", "before", "now", "same"),
            [(row["name"], row["first"], row["second"], "yes" if row["same"] else "no") for row in found["headlines"]],
        )
        for name, values in found["model"].items():
            line(f"the model's {name} was {values[0]} and is now {values[1]}")
        for name, values in found["sources"].items():
            line(f"{name}: not what was read before (sha256 {_short(values[0])}, now {_short(values[1])})")
        for row in found["data"]:
            apart = f", by up to {row['largest']:.3g}" if row.get("largest") is not None else ""
            line(f"{row['variable']}: {row['why']}{apart}")
        line(f"now: {after.folder}")
    if not found["same"]:
        told = f"; other data were read: {', '.join(found['sources'])}" if found["sources"] else ""
        headlines = sum(not row["same"] for row in found["headlines"])
        raise WorkbenchError(
            f"it came out differently: {headlines} headlines and {len(found['data'])} variables differ by more than "
            f"{rtol:g}{told}; `workbench compare {before.id} {after.id}` shows what else differs"
        )


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:12]}…"
