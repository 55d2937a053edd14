"""A suite leaves nothing out in silence: a broken probe is in the report, and what cannot go on is said first."""

from __future__ import annotations

import pytest

import workbench as wb
from tests.fixtures.plugin.mean_logits import MeanLogits
from workbench.errors import UsageError
from workbench.probe.registry import PROBES
from workbench.runs import suite as module
from workbench.runs.suite import suite


class Picky(MeanLogits):
    name = "picky"

    def unsuitable(self, session):
        return "it has no luck"


@pytest.fixture
def probes(monkeypatch):
    """One that runs, one that cannot be loaded and one that suits nothing."""
    PROBES.names()  # all that there are, before all but these are put aside
    known = {"mean-logits": MeanLogits(), "broken": "no_such_module_anywhere:Probe", "picky": Picky()}
    monkeypatch.setattr(PROBES, "_known", known)


def test_a_probe_that_cannot_be_loaded_is_in_the_report_with_the_reason(session, at, probes):
    done = suite(session, at / "out", preset="smoke")
    assert {run.record["probe"]: run.status for run in done.runs} == {"mean-logits": "success", "broken": "error"}
    broken = next(run.record for run in done.runs if run.record["probe"] == "broken")
    assert "no_such_module_anywhere" in broken["error"]["message"] and "Traceback" in broken["error"]["traceback"]
    report = done.report.read_text()
    assert "No module named" in report and "mean_logit" in report and done.unsuitable == {"picky": "it has no luck"}


def test_the_command_line_runs_and_lists_the_others_beside_it(cli, tiny_folder, probes, at):
    done = cli("suite", "--model", tiny_folder, "--preset", "smoke", "-o", "out")
    assert done.status == 1 and "1 of 3 probes failed: broken" in done.err.splitlines()[-1]
    assert "no_such_module_anywhere" in (at / "out" / "index.html").read_text()
    listed = cli("probes")
    assert listed.status == 0 and "mean-logits" in listed.out and "'broken' cannot be loaded" in listed.err


def test_a_run_that_the_suite_would_pass_over_is_refused_before_anything_runs(session, at, probes):
    def left(probe: str, status: str) -> str:
        folder = module.record_refusal(probe, session, "smoke", 0, {}, ValueError("stopped"), at / "runs")
        record = folder / "record.json"
        record.write_text(record.read_text().replace('"status": "error"', f'"status": "{status}"'))
        return folder.name

    for probe, status, said in (
        ("picky", "error", "picky does not suit .*: it has no luck"),
        ("elsewhere", "error", "its probe 'elsewhere' is not here"),
        ("mean-logits", "success", "is already done"),
    ):
        with pytest.raises(UsageError, match=said):
            suite(session, at / "out", resume=left(probe, status))
    assert len(list((at / "runs").glob("2*"))) == 3 and not (at / "out").exists()


def test_a_folder_that_cannot_hold_the_report_is_refused_before_anything_runs(session, at, probes):
    (at / "file").touch()
    with pytest.raises(UsageError, match="cannot hold the report"):
        suite(session, at / "file" / "out")
    assert not (at / "runs").exists()


def test_a_refusal_that_cannot_be_kept_ends_nothing(session, at, probes, monkeypatch):
    def full(*given):
        raise OSError("no space")

    monkeypatch.setattr(module, "record_refusal", full)
    done = suite(session, at / "out", preset="smoke")
    assert [run.status for run in done.runs] == ["success"] and "no record of it could be kept" in done.failed["broken"]
    assert isinstance(done.runs[0], wb.Run)
