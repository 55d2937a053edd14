"""Comparing, verifying and running again."""

from __future__ import annotations

import json

import pytest
import torch

import workbench as wb
from tests.workbench.records.test_store import record
from workbench.records import comparison
from workbench.records.file_hashes import verify
from workbench.records.record import Headline
from workbench.runs.rerun import agreement, load_again


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


def test_a_rerun_comes_out_the_same(session, at, cli):
    run = wb.run("mean-logits", session, preset="smoke", seed=4, length=6)
    again = cli("rerun", run.id, "--json")
    assert again.status == 0, again.err
    found = json.loads(again.out)
    assert found["same"] and found["runs"][0] == run.id and found["data"] == [] and found["model"] == {}
    second = wb.open(found["runs"][1]).record
    assert second["spec"]["resolved"] == run.record["spec"]["resolved"] and second["spec"]["seed"] == 4
    assert "yes" in cli("rerun", run.id).out


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
        load_again(given)


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
