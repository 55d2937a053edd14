"""Running a probe: what is recorded when it ends well, fails, is cancelled, or goes on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import workbench as wb
from tests.fixtures.plugin.mean_logits import MeanLogits
from workbench.errors import Cancelled, UnknownName, UsageError, WorkbenchError
from workbench.files import sha256
from workbench.probe.contract import Outcome
from workbench.probe.run_context import StagedRunContext
from workbench.progress import Reporter
from workbench.records.file_hashes import verify
from workbench.runs import execute, prepare


def only_run(runs: Path) -> wb.Run:
    (folder,) = (path for path in runs.iterdir() if not path.name.startswith("."))
    return wb.open(folder)


def executed(probe, session, runs, reporter=None, **settings):
    prepared = prepare.prepare(probe, session, "smoke", 0, settings)
    return wb.open(execute.execute(prepared, runs, reporter))


def test_a_run_keeps_everything_and_opens_again(session, at):
    events = []
    run = wb.run("mean-logits", session, preset="smoke", seed=3, runs=at / "r", progress=events.append, length=6)
    record = run.record
    assert record["status"] == "success" and record["probe"] == "mean-logits" and record["preset"] == "smoke"
    assert record["spec"] == {
        "given": {"length": 6},
        "resolved": {"n": 2, "length": 6, "layers": None, "data": "random", "pause": 0.0},
        "seed": 3,
        "clock": None,
    }
    assert record["model"] == json.loads(session.info.model_dump_json()) and record["model"]["fingerprint"]
    assert record["headline"][0]["control"]["name"] == "zero"
    assert record["checks"][0]["name"] == "attention agrees with eager attention"
    assert len(record["checks"]) > 1 and all(check["passed"] for check in record["checks"])
    assert record["limits"] == ["Random prompts are no text."] and record["data"][0]["n_used"] == 2
    assert record["plan"]["passes"] == 2 and record["plan"]["bytes"] > 0 and record["plan"]["seconds"] > 0
    assert record["stats"]["seconds"] > 0 and record["stats"]["peak_bytes"] > 2**20
    assert record["environment"]["packages"]["torch"] and record["error"] is None and record["finished"]
    assert {event.stage for event in events} >= {"prompts", "writing"}

    again = wb.open(run.folder)
    assert again.record == record and again.summary == run.summary
    ids = [StagedRunContext(3, Reporter(), at, "").rng(f"prompt {i}").integers(3, 61, size=(1, 6)) for i in range(2)]
    expected = np.stack([session.logits(row.tolist()).double().mean(-1)[0].numpy() for row in ids])
    np.testing.assert_allclose(again.data["logit"].values, expected, rtol=1e-6)
    assert again.data.attrs["fingerprint"] == record["model"]["fingerprint"] and again.data.attrs["seed"] == 3
    assert list(again.figures) == ["logits"] and again.figures["logits"].title == "Mean logits"
    assert again.tables["means"].name.tolist() == ["'=prompt(0)", "'=prompt(1)"]
    assert verify(run.folder, again.typed_record) == []
    assert {path.split("/")[0] for path in record["files"]} == {"data.zarr", "figures", "tables"}
    assert sorted(path.name for path in run.folder.iterdir()) == ["data.zarr", "figures", "record.json", "tables"]
    assert not any((at / "r" / ".partial").iterdir())


def test_a_model_name_works_too(tiny_folder, at):
    assert wb.run("mean-logits", str(tiny_folder), preset="smoke", engine="hf").status == "success"
    assert only_run(at / "runs").record["model"]["id"] == str(tiny_folder)


def test_the_same_seed_gives_the_same_and_another_does_not(session, at):
    first, second, third = (executed(MeanLogits(), session, at) for _ in range(3))
    assert first.data["logit"].identical(second.data["logit"]) and len({first.id, second.id, third.id}) == 3
    other = wb.run("mean-logits", session, preset="smoke", seed=1, runs=at)
    assert not other.data["logit"].equals(first.data["logit"])


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"probe": "mean-logit"}, UnknownName, "did you mean 'mean-logits'"),
        ({"preset": "quik"}, UnknownName, "did you mean 'quick'"),
        ({"lenght": 3}, UnknownName, "did you mean 'length'"),
        ({"n": "many"}, UsageError, "setting 'n' is 'many'"),
        ({"n": 0}, UsageError, "greater than or equal to 1"),
        ({"seed": -1}, UsageError, "a seed is"),
        ({"engine": "nnsight"}, UsageError, "the session uses the engine 'hf'"),
    ],
)
def test_wrong_use_is_said_before_anything_is_written(session, at, arguments, kind, said):
    with pytest.raises(kind, match=said):
        wb.run(**{"probe": "mean-logits", "session": session, "progress": False, **arguments})
    assert not (at / "runs").exists()


class Failing(MeanLogits):
    """Fails in the way it is told, after its first stage."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self, session, config, context):
        context.stage("first", lambda: xr.Dataset(attrs={"done": "yes"}))
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("the sky <b>fell</b>"), "error"),
        (WorkbenchError("no such head"), "error"),
        (Cancelled("cancelled"), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(3), "cancelled"),
    ],
)
def test_a_failure_is_recorded_and_raised_again(session, at, error, status):
    with pytest.raises(type(error)) as raised:
        executed(Failing(error), session, at)
    assert raised.value is error and any("recorded in" in note for note in error.__notes__)
    record = only_run(at).record
    assert record["status"] == status and record["finished"]
    assert record["error"]["kind"] == type(error).__name__ and record["error"]["message"] == str(error)
    assert "test_execute.py" in record["error"]["traceback"]
    with pytest.raises(WorkbenchError, match="has no data"):
        _ = only_run(at).data
    assert "sky" not in str(error) or "&lt;b&gt;fell" in only_run(at)._repr_mimebundle_()["text/html"]


def test_out_of_memory_is_said_in_plain_words(session, at):
    with pytest.raises(WorkbenchError, match="out of memory"):
        executed(Failing(MemoryError()), session, at)
    record = only_run(at).record
    assert record["status"] == "error" and "raise self.error" in record["error"]["traceback"]


def test_a_run_refused_by_a_bug_keeps_where_the_bug_is(session, at):
    class Buggy(MeanLogits):
        def work(self, session, config):
            return [][0]

    try:
        prepare.prepare(Buggy(), session, "smoke")
    except IndexError as error:
        folder = execute.record_refusal(Buggy(), session, "smoke", 0, {}, error, at)
    assert "return [][0]" in wb.open(folder).record["error"]["traceback"]


def test_details_that_a_bug_breaks_say_where_in_the_log(session, at, caplog):
    class Broken(MeanLogits):
        def coordinates(self, data, record):
            raise ZeroDivisionError("a coordinate\x1b[2J of nothing")

    run = executed(Broken(), session, at)
    run._probe = Broken
    with pytest.raises(WorkbenchError, match="the details of run"):
        _ = run.coordinates
    assert "in coordinates" in caplog.text and "ZeroDivisionError" in caplog.text and "\x1b" not in caplog.text


def test_a_result_that_breaks_the_schema_fails_the_run(session, at):
    class Careless(MeanLogits):
        def run(self, session, config, context):
            outcome = super().run(session, config, context)
            return Outcome(xr.DataTree(outcome.data.to_dataset().drop_vars("example")), outcome.headlines)

    with pytest.raises(WorkbenchError, match="'example' has no coordinate"):
        executed(Careless(), session, at)
    assert only_run(at).record["status"] == "error" and only_run(at).record["files"] == {}


def test_a_cancel_between_two_steps_is_recorded(session, at):
    reporter = Reporter()

    def listen(event):
        if event.stage == "prompts" and event.done == 1:
            reporter.cancelled.set()

    reporter.listener = listen
    with pytest.raises(Cancelled):
        executed(MeanLogits(), session, at, reporter)
    assert only_run(at).record["status"] == "cancelled"


def test_a_missing_or_changed_array_is_not_read_in_silence(session, at):
    run = executed(MeanLogits(), session, at)
    chunk = next(path for path in run.folder.glob("data.zarr/logit/c/**/*") if path.is_file())
    kept = chunk.read_bytes()
    for content in (kept[:-3], b"", None):
        chunk.unlink(missing_ok=True)
        if content is not None:
            chunk.write_bytes(content)
        with pytest.raises(WorkbenchError, match="changed" if content is not None else "missing"):
            _ = wb.open(run.folder).data
    chunk.write_bytes(kept)
    assert wb.open(run.folder).data["logit"].notnull().all()


def test_a_run_shows_itself_in_a_notebook(session, at):
    run = executed(MeanLogits(), session, at)
    bundle = run._repr_mimebundle_()
    assert "mean_logit" in bundle["text/html"] and "success" in bundle["text/plain"]
    with pytest.raises(UnknownName, match="did you mean 'logits'"):
        _ = run.figures["logit"]


def test_a_path_in_a_record_does_not_lead_out_of_the_run(session, at):
    run = executed(MeanLogits(), session, at)
    secret = at / "secret.txt"
    secret.write_text("x")
    record = run.typed_record
    record.files["../secret.txt"] = sha256(secret)
    assert [finding.path for finding in verify(run.folder, record)] == ["../secret.txt"]
