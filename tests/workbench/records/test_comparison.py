"""Comparing, verifying and running again."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

import workbench as wb
from tests.workbench.records.test_store import record
from workbench.dashboards.components.side_by_side import facts
from workbench.errors import UsageError
from workbench.probe.registry import PROBES
from workbench.records import comparison
from workbench.records.file_hashes import verify
from workbench.records.record import AdapterInfo, DataUse, Headline
from workbench.reports import build
from workbench.runs.rerun import agreement, load_again, rerun


def headline(name="a", value=1.0, low=None, high=None):
    return Headline(name=name, value=value, low=low, high=high, n=3, unit="1", split="s", method="m")


def test_what_differs_is_named_and_what_does_not_is_left_out():
    one = record(headline=[headline(low=0.5, high=1.5), headline("gone")])
    two = record(
        "20260102T000000Z-a-probe-00000002", headline=[headline(value=2.0, low=1.4, high=2.6), headline("new")]
    )
    two.spec.resolved = {"n": 5}
    two.spec.seed = 1
    two.environment.packages = {"torch": "2"}
    two.model.fingerprint = "ff"
    found = comparison.compare([one, two])
    assert found["settings"] == {"seed": [0, 1], "n": [None, 5]}
    assert found["model"] == {"fingerprint": [None, "ff"]} and found["environment"] == {"torch": [None, "2"]}
    rows = {row["name"]: row for row in found["headlines"]}
    assert rows["a"]["difference"] == 1.0 and rows["a"]["overlap"] is True
    assert rows["gone"]["runs"][1] is None and rows["gone"]["difference"] is None and rows["new"]["overlap"] is None
    two.headline[0].low = 1.6
    assert comparison.headlines([one, two])[0]["overlap"] is False
    assert comparison.compare([one, one])["settings"] == {}


def test_sources_of_one_name_do_not_hide_each_other():
    one, two = record(), record()
    for each, used in ((one, (3, 4)), (two, (3, 5))):
        each.data = [DataUse(name="facts", sha256=str(place), n_used=n) for place, n in enumerate(used)]
    assert comparison.compare([one, two])["data"] == {"facts (2).n_used": [4, 5]}


def test_what_is_not_there_is_not_what_holds_nothing():
    one, two = record(), record()
    one.spec.resolved, two.spec.resolved = {"layers": None, "n": [1, 2]}, {"n": {"least": 1}}
    found = comparison.compare([one, two])
    assert found["settings"] == {"layers": [None, None], "n": [[1, 2], {"least": 1}]}
    texts = {row.name: row.texts for row in found.differences}
    assert texts == {"layers": ["nothing", "–"], "n": ["[1, 2]", '{"least": 1}']}
    two.model.adapter = AdapterInfo(id="a", sha256="0")
    assert comparison.compare([one, two])["model"] == {"adapter": [None, {"id": "a", "sha256": "0", "merged": []}]}


def test_report_page_terminal_and_notebook_tell_the_same_differences(session, at, cli):
    one = wb.run("mean-logits", session, preset="smoke", progress=False)
    two = wb.run("mean-logits", session, preset="smoke", seed=2, progress=False, length=6, layers=[1])
    found = wb.compare(one, two.id)
    assert found["settings"] == {"seed": [0, 2], "length": [8, 6], "layers": [None, [1]]}
    expected = [(row.label, *row.texts) for row in found.differences]
    assert expected[-1] == ("setting layers", "nothing", "[1]")
    table = next(block for part in build([one, two]).sections for block in part.blocks if hasattr(block, "columns"))
    assert [tuple(row) for row in table.rows] == expected
    shown = found._repr_mimebundle_()
    assert all(text in shown["text/plain"] and text in shown["text/html"] for row in expected for text in row)
    said, page = cli("compare", one.id, two.id).out, facts([one, two]).object
    for row in found.differences:
        assert row.name in said and row.name in page and all(text in said and text in page for text in row.texts)
    with pytest.raises(UsageError, match="two or more"):
        wb.compare(one)


def test_a_rerun_comes_out_the_same(session, at, cli):
    run = wb.run("mean-logits", session, preset="smoke", seed=4, length=6)
    again = cli("rerun", run.id, "--json")
    assert again.status == 0, again.err
    found = json.loads(again.out)
    assert found["same"] and found["runs"][0] == run.id and found["data"] == [] and found["model"] == {}
    second = wb.open(found["runs"][1]).record
    assert second["spec"] == run.record["spec"] and second["spec"]["given"] == {"length": 6}
    assert "yes" in cli("rerun", run.id).out


def test_a_rerun_holds_to_the_settings_of_then_though_a_preset_has_changed(session, at, monkeypatch):
    run = wb.run("mean-logits", session, preset="smoke", layers=[0, 2], progress=False)
    probe = PROBES.get("mean-logits")
    monkeypatch.setattr(type(probe), "presets", {**probe.presets, "smoke": {"n": 3}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = rerun(run, session, at)
    assert again.record["spec"] == run.record["spec"]
    assert run.record["spec"]["resolved"]["n"] == 2 and run.record["spec"]["given"] == {"layers": [0, 2]}


def test_a_rerun_on_other_weights_comes_out_different(tiny_folder, at, cli):
    from transformers import AutoModelForCausalLM

    copy = at / "model"
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model.save_pretrained(copy)
    run = wb.run("mean-logits", str(copy), preset="smoke", progress=False)
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    model.save_pretrained(copy)
    said = cli("rerun", run.id)
    assert said.status == 1 and "came out differently: 1 headlines and 1 variables" in said.err
    assert "the model's fingerprint was" in said.out and "/logit" in said.out


def test_a_run_of_a_device_that_is_not_here_runs_again_on_another(tiny_folder, at, cli):
    run = wb.run("mean-logits", str(tiny_folder), preset="smoke", progress=False)
    path = run.folder / "record.json"
    path.write_text(path.read_text().replace('"device": "cpu"', '"device": "cuda:7"'))
    refused = cli("rerun", run.id)
    assert refused.status == 2 and "no device 'cuda:7' on this machine" in refused.err
    again = cli("rerun", run.id, "--device", "cpu")
    assert again.status == 0 and "the model's device was cuda:7 and is now cpu" in again.out


def test_agreement_has_a_tolerance_in_values_and_intervals(session, at):
    one, two = (wb.run("mean-logits", session, preset="smoke", progress=False) for _ in range(2))
    assert agreement(one, two)["same"]
    two.typed_record.headline[0].high += 1e-3
    assert not agreement(one, two)["same"] and agreement(one, two, atol=1e-2)["same"]


def test_a_model_from_memory_is_not_loaded_by_name():
    given = record()
    given.model.id = "in-memory/tiny"
    with pytest.raises(wb.WorkbenchError, match="from memory"):
        load_again(given.model)


def test_verify_finds_what_is_changed_missing_and_added(session, at, cli):
    run = wb.run("mean-logits", session, preset="smoke", progress=False)
    assert cli("verify", run.id).status == 0
    figures = run.folder / "figures"
    (figures / "logits.svg").write_text("<svg/>")
    (figures / "logits.png").unlink()
    (figures / "extra.svg").write_text("<svg/>")
    found = {(finding.path, finding.what) for finding in verify(run.folder, run.typed_record)}
    assert found == {
        ("figures/logits.svg", "changed"),
        ("figures/logits.png", "missing"),
        ("figures/extra.svg", "added"),
    }
    said = cli("verify", run.id, "--json")
    assert said.status == 1 and "3 files" in said.err and len(json.loads(said.out)["wrong"]) == 3
