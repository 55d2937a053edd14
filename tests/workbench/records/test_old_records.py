"""Records that earlier versions wrote stay readable: one folder of fixtures a schema, never made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import workbench as wb
from tests.sample_runs import write_run
from workbench.errors import UnknownName
from workbench.records import store
from workbench.records.file_hashes import verify
from workbench.runs.rerun import agreement

RECORDS = Path(__file__).parents[2] / "fixtures" / "records"
STATUS = {
    "b718bb53": "success",
    "fb445a89": "error",
    "55704f8e": "cancelled",
    "47703af3": "interrupted",
}


@pytest.fixture(params=sorted(RECORDS.iterdir()), ids=lambda path: path.name)
def runs(request, tmp_path):
    """A copy of the fixtures of one schema."""
    return Path(shutil.copytree(request.param, tmp_path / "runs"))


def test_every_record_is_read_with_its_status(runs):
    found = store.listing(runs)
    assert found.unreadable == []
    assert {record.id[-8:]: record.status for record in found.records} == STATUS
    assert all(record.probe == "mean-logits" and record.spec.resolved["n"] == 2 for record in found.records)


def test_a_finished_run_gives_everything_it_holds(runs):
    run = wb.open("20261124T085856Z", runs=runs)
    assert verify(run.folder, run.typed_record) == []
    assert run.data["logit"].dims == ("example", "position") and run.data.attrs["seed"] == 7
    assert run.figures["logits"].title == "Mean logits" and len(run.tables["means"]) == 2
    assert run.headline["mean_logit"].control.name == "zero" and run.summary[0].startswith("The mean logit")
    assert agreement(run, run)["same"]
    for name in ("report.html", "report.md", "report.json"):
        assert "Mean logits" in run.report(runs.parent / name).read_text()


def test_a_run_without_a_result_says_why(runs):
    failed = next(wb.open(path) for path in runs.iterdir() if path.name.endswith("fb445a89"))
    assert failed.record["error"]["message"] == "a head <b>fell off</b>"
    with pytest.raises(wb.WorkbenchError, match="its status is 'error'"):
        _ = failed.data


def test_a_headline_that_was_renamed_is_found_by_both_names(tmp_path):
    folder = tmp_path / write_run(tmp_path)
    record = json.loads((folder / "record.json").read_text())
    record["headline"][0]["name"] = "copy_head_share"
    (folder / "record.json").write_text(json.dumps(record))
    run = wb.open(folder)
    assert next(iter(run.headline)) == "retrieval_head_share"
    assert run.headline["copy_head_share"] == run.headline["retrieval_head_share"]
    with pytest.raises(UnknownName, match="retrieval_head_share"):
        run.headline["retrieval_heads_share"]
