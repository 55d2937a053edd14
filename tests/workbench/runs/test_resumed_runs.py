"""A run that was stopped goes on from its stages, and from no other run's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xarray as xr

import workbench as wb
from tests.fixtures.plugin.mean_logits import MeanLogits
from workbench.errors import UsageError
from workbench.runs import execute, prepare


def only_run(runs: Path) -> wb.Run:
    (folder,) = (path for path in runs.iterdir() if not path.name.startswith("."))
    return wb.open(folder)


def executed(probe, session, runs, reporter=None, **settings):
    prepared = prepare.prepare(probe, session, "smoke", 0, settings)
    return wb.open(execute.execute(prepared, runs, reporter))


class Counting(MeanLogits):
    """Counts the stages it computes and stops before the third as long as it is told to."""

    def __init__(self) -> None:
        self.computed: list[str] = []
        self.stop = True

    def run(self, session, config, context):
        stage = context.stage

        def counted(name, compute):
            if self.stop and name == "prompt-2":
                raise ValueError("stopped")

            def count():
                self.computed.append(name)
                return compute()

            return stage(name, count)

        context.stage = counted
        return super().run(session, config, context)


def test_a_run_goes_on_from_what_it_had(session, at):
    probe = Counting()
    prepared = prepare.prepare(probe, session, "quick")
    with pytest.raises(ValueError):
        execute.execute(prepared, at)
    stopped = only_run(at)
    assert {path.name for path in (stopped.folder / "stages").iterdir()} == {"prompt-0.zarr", "prompt-1.zarr"}
    probe.stop = False
    folder = execute.execute(prepared, at, resume=stopped.id[:20])
    assert folder == stopped.folder and probe.computed == [f"prompt-{index}" for index in range(4)]
    record = wb.open(folder).record
    assert record["status"] == "success" and record["error"] is None and len(record["resumed"]) == 1
    assert record["stats"]["seconds"] > stopped.record["stats"]["seconds"] and not (folder / "stages").exists()
    whole = executed(MeanLogits(), session, at, n=4)
    assert wb.open(folder).data["logit"].identical(whole.data["logit"])


def test_a_stage_of_something_else_is_not_used(session, at):
    probe = Counting()
    prepared = prepare.prepare(probe, session, "quick")
    with pytest.raises(ValueError):
        execute.execute(prepared, at)
    folder = only_run(at).folder
    given = json.loads((folder / "record.json").read_text())
    given["environment"]["packages"]["workbench"] = "0.0.1"
    (folder / "record.json").write_text(json.dumps(given))
    stage = folder / "stages" / "prompt-0.zarr" / "zarr.json"
    stage.write_text(
        stage.read_text().replace('"stage_key":"', '"stage_key":"0').replace('"stage_key": "', '"stage_key": "0')
    )
    probe.stop = False
    execute.execute(prepared, at, resume=folder)
    assert probe.computed == ["prompt-0", "prompt-1", "prompt-0", "prompt-2", "prompt-3"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"given": {"length": 9}}, "setting 'length' was 8 and is now 9"),
        ({"seed": 5}, "the seed was 0 and is now 5"),
        ({"preset": "smoke"}, "setting 'n' was 4 and is now 2"),
    ],
)
def test_a_run_with_other_settings_does_not_go_on(session, at, changes, said):
    with pytest.raises(ValueError):
        execute.execute(prepare.prepare(Counting(), session), at)
    stopped = only_run(at)
    with pytest.raises(UsageError, match=said):
        execute.execute(prepare.prepare(Counting(), session, **changes), at, resume=stopped.folder)
    assert only_run(at).record == stopped.record


def test_a_run_on_another_model_does_not_go_on(session, at):
    import torch

    from tests.conftest import tiny

    with pytest.raises(ValueError):
        execute.execute(prepare.prepare(Counting(), session), at)
    other = tiny("llama")
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1
    with pytest.raises(UsageError, match="the model's fingerprint was"):
        execute.execute(prepare.prepare(Counting(), wb.load((other, None))), at, resume=only_run(at).folder)


def test_a_finished_run_does_not_go_on(session, at):
    done = executed(MeanLogits(), session, at)
    with pytest.raises(UsageError, match="already done"):
        execute.execute(prepare.prepare("mean-logits", session, "smoke"), at, resume=done.folder)


def test_two_stages_of_one_name_are_refused(session, at):
    class Twice(MeanLogits):
        def run(self, session, config, context):
            for _ in range(2):
                context.stage("same", xr.Dataset)

    with pytest.raises(UsageError, match="computed twice"):
        executed(Twice(), session, at)
