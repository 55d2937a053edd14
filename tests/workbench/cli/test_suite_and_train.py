"""The commands that run every probe, and that make again what is in the data folder."""

from __future__ import annotations

import json

import pytest

from workbench.probe.registry import PROBES


@pytest.fixture
def model(tiny_folder):
    return ("--model", str(tiny_folder))


@pytest.fixture
def two_probes(monkeypatch):
    """Only the small probe and one that fails."""
    good = PROBES.get("mean-logits")

    class Unlucky(type(good)):
        name = "unlucky"

        def run(self, session, config, context):
            raise ValueError("bad luck <b>")

    monkeypatch.setattr(PROBES, "_known", {"mean-logits": good, "unlucky": Unlucky()})
    return Unlucky


def test_a_suite_keeps_what_worked_and_says_what_failed(cli, model, at, two_probes):
    done = cli("suite", *model, "--preset", "smoke", "-o", "reports", "--set", "length=4", "--json")
    found = json.loads(done.out)
    assert done.status == 1 and "1 of 2 probes failed: unlucky: ValueError: bad luck" in done.err.splitlines()[-1]
    assert {run["probe"]: run["status"] for run in found["runs"]} == {"mean-logits": "success", "unlucky": "error"}
    assert all(run["spec"]["resolved"]["length"] == 4 for run in found["runs"])
    report = (at / "reports" / "index.html").read_text()
    assert "bad luck" in report and "bad luck <b>" not in report and "mean_logit" in report


def test_a_suite_over_budget_says_so_in_the_report(cli, model, at, two_probes):
    done = cli("suite", *model, "--preset", "smoke", "-o", "reports", "--memory", "1KiB")
    assert done.status == 1 and "2 of 2 probes failed" in done.err
    assert "may take 1 KiB" in (at / "reports" / "index.html").read_text()


def test_a_suite_leaves_out_what_does_not_suit(cli, model, at, two_probes, monkeypatch):
    monkeypatch.setattr(two_probes, "unsuitable", lambda self, session: "it has no luck", raising=False)
    done = cli("suite", *model, "--preset", "smoke", "-o", "reports")
    assert done.status == 0, done.err
    assert "unlucky does not suit this model: it has no luck" in done.out


def test_train_makes_it_again_with_a_record(cli, at):
    first = json.loads(cli("train", "counted-lines", "--seed", "3", "--set", "lines=5", "--json").out)
    assert cli("train", "counted-lines", "-o", "again", "--seed", "3", "--set", "lines=5").status == 0
    second = json.loads((at / "again" / "record.json").read_text())
    assert first["status"] == "success" and first["files"] == second["files"] and "lines.txt" in first["files"]
    assert first["spec"] == {"given": {"lines": 5}, "resolved": {"lines": 5}, "seed": 3}
    assert cli("train", "counted-lines", "-o", "small", "--preset", "smoke").status == 0
    assert len((at / "small" / "lines.txt").read_text().splitlines()) == 1
