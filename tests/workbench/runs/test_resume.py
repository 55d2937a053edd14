"""Going on with a run or a training means one thing, whoever asks: what is not said again is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

import workbench as wb
from tests.dashboards.server.test_job_queue import ended
from tests.fixtures.plugin.mean_logits import MeanLogits
from workbench.dashboards.components.snippets import python_snippet
from workbench.dashboards.server.job_queue import JobQueue
from workbench.dashboards.server.run_request import RunRequest
from workbench.errors import UsageError
from workbench.probe.contract import Config, Recipe
from workbench.probe.registry import PROBES
from workbench.runs.execute import record_refusal
from workbench.runs.resume import request_of
from workbench.runs.suite import suite
from workbench.runs.train import train


@pytest.fixture
def stopped(tiny_folder, at, monkeypatch) -> wb.Run:
    """A run with a preset, a seed and settings of its own, that broke in the middle."""
    whole = MeanLogits.run

    def broken(self, session, config, context):
        raise ValueError("stopped")

    PROBES.names()  # found before, so that what is found is not forgotten with the stand-in
    monkeypatch.setattr(PROBES, "_known", {"mean-logits": MeanLogits()})
    monkeypatch.setattr(MeanLogits, "run", broken)
    with pytest.raises(ValueError, match="stopped"):
        wb.run("mean-logits", str(tiny_folder), preset="smoke", seed=3, length=6, layers=[1], progress=False)
    monkeypatch.setattr(MeanLogits, "run", whole)
    (folder,) = (path for path in (at / "runs").iterdir() if not path.name.startswith("."))
    return wb.open(folder)


def _python(run: wb.Run, at: Path, tiny_folder: Path, cli) -> None:
    wb.run(resume=run.id, progress=False)


def _python_with_a_session(run: wb.Run, at: Path, tiny_folder: Path, cli) -> None:
    wb.run("mean-logits", wb.load(str(tiny_folder)), resume=run.folder, progress=False)


def _snippet(run: wb.Run, at: Path, tiny_folder: Path, cli) -> None:
    exec(python_snippet(RunRequest.again(run.typed_record, resume=True)), {})


def _command_line(run: wb.Run, at: Path, tiny_folder: Path, cli) -> None:
    done = cli("run", "--resume", run.id, "--preset", "smoke")
    assert done.status == 0, done.err


def _suite(run: wb.Run, at: Path, tiny_folder: Path, cli) -> None:
    suite(wb.load(str(tiny_folder)), at / "report", resume=run.id)


def _pages(run: wb.Run, at: Path, tiny_folder: Path, cli) -> None:
    jobs = JobQueue(at / "runs", models=[str(tiny_folder)])
    job = jobs.submit(RunRequest.again(run.typed_record, resume=True), "tab")
    assert (ended(job), job.message) == ("done", "")
    jobs.close()


@pytest.mark.parametrize("way", [_python, _python_with_a_session, _snippet, _command_line, _suite, _pages])
def test_what_is_not_said_again_is_as_it_was(way, stopped, at, tiny_folder, cli):
    before = stopped.record
    way(stopped, at, tiny_folder, cli)
    after = wb.open(stopped.folder).record
    assert after["status"] == "success" and len(after["resumed"]) == 1
    assert after["spec"] == before["spec"] and after["preset"] == "smoke"
    assert after["spec"]["given"] == {"length": 6, "layers": [1]} and after["spec"]["seed"] == 3


def test_what_is_said_again_differently_is_refused(stopped, at):
    for changes, said in (({"length": 7}, "'length' was 6 and is now 7"), ({"preset": "quick"}, "'n' was 2 and is")):
        with pytest.raises(UsageError, match=said):
            wb.run(resume=stopped.id, progress=False, **changes)
    with pytest.raises(UsageError, match="name a probe and a session"):
        wb.run("mean-logits")


def test_a_run_that_never_began_has_nothing_to_go_on_with(session, at):
    folder = record_refusal(MeanLogits(), session, "smoke", 0, {}, ValueError("no"), at / "runs")
    with pytest.raises(UsageError, match="refused before it began"):
        wb.run("mean-logits", session, resume=folder, progress=False)


def test_another_preset_starts_from_its_own_settings(stopped):
    asked = request_of(stopped.typed_record)
    assert asked.again() == asked and asked.again("smoke", 3, {"length": 6}) == asked
    other = asked.again("full", given={"length": 7})
    assert (other.preset, other.seed, other.given, other.resolved) == ("full", 3, {"length": 7}, None)


class CountedConfig(Config):
    steps: int = 4
    size: int = 1


def _count(config: CountedConfig, folder: Path, seed: int, progress) -> None:
    """Goes on from the steps it finds, and stops once in the middle."""
    kept = folder / "steps.txt"
    done = len(kept.read_text().splitlines()) if kept.exists() else 0
    for step in range(done, config.steps):
        with kept.open("a") as file:
            file.write(f"{seed} {config.size}\n")
        if step == 1 and done == 0:
            raise ValueError("stopped")


COUNTED = Recipe("counted", "lines", CountedConfig, _count, {"smoke": {"steps": 3}}, resumable=True)


def test_a_training_goes_on_as_it_was_begun_and_as_nothing_else(tmp_path):
    folder = tmp_path / "made"
    with pytest.raises(ValueError, match="stopped"):
        train(COUNTED, folder, "smoke", 5, {"size": 7})
    for changes, said in (({"given": {"size": 8}}, "'size' was 7 and is now 8"), ({"seed": 6}, "seed was 5")):
        with pytest.raises(UsageError, match=said):
            train(COUNTED, folder, resume=True, **changes)
    record = train(COUNTED, folder, resume=True)
    assert (folder / "steps.txt").read_text() == "5 7\n" * 3
    assert record["spec"] == {"given": {"size": 7}, "resolved": {"steps": 3, "size": 7}, "seed": 5}
    assert record["preset"] == "smoke" and len(record["resumed"]) == 1
    with pytest.raises(UsageError, match="already done"):
        train(COUNTED, folder, resume=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="no training in"):
        train(COUNTED, tmp_path / "other", resume=True)
