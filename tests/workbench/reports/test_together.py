"""Several runs in one report, the command that runs one again, and headlines in words."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from tests.sample_reports import failed_run, record, sample_run
from tests.workbench.reports.pages import page_of
from workbench.records.comparison import MISSING, differences
from workbench.records.describe import digits
from workbench.reports import build
from workbench.reports.commands import rerun_command
from workbench.reports.headlines import row, strip
from workbench.reports.overview import reliability


def test_several_runs_are_compared(tmp_path: Path) -> None:
    other = {
        "given": {"n": 32},
        "resolved": {"n": 32, "haystack": "my essays.txt", "length": 512, "layers": None},
        "seed": 4,
    }
    runs = [sample_run(tmp_path / "a"), sample_run(tmp_path / "b", spec=other, id="b"), failed_run(tmp_path / "c")]
    runs[1].record["headline"][2]["value"] = 0.5
    for run in runs:
        run.figures = {}
    report = build(runs)
    assert report.title == "How smollm2-135m-instruct-q4_1 uses its context" and report.about == "3 runs, 2 finished"
    assert [section.key for section in report.sections] == ["overview", "trust", "compare-1", "run-1", "run-2", "run-3"]
    _, tags = page_of(runs)
    assert "Head roles: 3 runs compared" in tags.text and tags.text.count("setting n") == 1
    compared = report.sections[2].blocks
    assert ("setting n", "64", "32", "64") in compared[0].rows and ("seed", "3", "4", "3") in compared[0].rows
    ablated = [row for row in compared[1].rows if row.name == "needle_recall_top_ablated"]
    assert [(row.of, row.value) for row in ablated] == [("run 1", "0.12"), ("run 2", "0.5")]
    cards = report.sections[0].blocks[0].cards
    assert [card.headline and card.headline.name for card in cards] == ["needle_recall", "needle_recall", None]
    assert cards[2].said == ["WorkbenchError: out of memory; choose smaller settings"]
    assert list(cards[0].said) == list(runs[0].summary) and cards[0].question
    same = build([runs[0], runs[0]]).sections[2].blocks[0]
    assert same.paragraphs == ["Settings, model, data and environment were the same in all of them."]


def test_several_runs_say_together_how_sure_they_are(tmp_path: Path) -> None:
    runs = [sample_run(tmp_path / "a"), failed_run(tmp_path / "c")]
    records = [run.record for run in runs]
    said = " ".join(reliability(records))
    assert "Not finished: run 2 (Head roles): error." in said
    least = min(headline["n"] for headline in records[0]["headline"])
    assert f"The headlines rest on {least} examples or more (the fewest in run 1 (Head roles))" in said
    records[0]["checks"] = [{"name": "sums to one", "passed": True, "detail": ""}]
    records[1]["checks"] = []
    assert "All 1 checks passed." in reliability(records)
    records[0]["checks"][0] |= {"passed": False, "detail": "0.9"}
    assert "1 of 1 checks failed. run 1 (Head roles): sums to one – 0.9." in reliability(records)
    records[0]["limits"], records[1]["limits"] = ["one text", "4-bit weights"], ["4-bit weights"]
    said = reliability(records)
    assert "4-bit weights." in said and "One text." not in said


def test_differences_name_the_fields() -> None:
    one = record().model_dump(mode="json", by_alias=True)
    two = record(preset="full").model_dump(mode="json", by_alias=True)
    two["environment"]["packages"] = {"torch": "2.14.0", "numpy": "2.4"}
    two["data"][0]["n_used"] = 5
    assert not [d for d in differences([{**one, "data": []}, one]) if d.path == "data"]
    found = {difference.path: list(difference.values) for difference in differences([one, two])}
    assert found == {
        "preset": ["quick", "full"],
        "data.needles (built-in).n_used": [64, 5],
        "environment.packages.torch": ["2.13.0", "2.14.0"],
        "environment.packages.numpy": [MISSING, "2.4"],
    }


def test_the_command_can_be_pasted_into_a_shell() -> None:
    given = {
        "n": 3,
        "haystack": "it's; rm -rf $HOME",
        "layers": [1, 2],
        "rule": "3",
        "far": None,
        "on": True,
        "x": "none",
    }
    spec = {"given": given, "resolved": given, "seed": 7}
    model = {
        "id": "a b",
        "engine": "nnsight",
        "adapter": {"id": "lora", "sha256": "0"},
        "dtype": "bfloat16",
        "device": "cuda:0",
    }
    made = record(spec=spec, model=model).model_dump(mode="json", by_alias=True)
    words = shlex.split(rerun_command(made))
    assert words[:9] == ["workbench", "run", "head-roles", "--model", "a b", "--adapter", "lora", "--engine", "nnsight"]
    assert words[9:17] == ["--device", "cuda:0", "--dtype", "bfloat16", "--preset", "quick", "--seed", "7"]
    assert set(words[17::2]) == {"--set"}
    assert words[18::2] == [
        "n=3", "haystack=it's; rm -rf $HOME", "layers=[1, 2]", 'rule="3"', "far=null", "on=true", 'x="none"'
    ]  # fmt: skip


def test_the_command_says_how_the_model_was_loaded() -> None:
    spread = {"device": "cuda:0, cuda:1", "device_map": "auto", "dtype": "float32"}
    model = {"id": "some/model", "revision": "abc123", "trust_remote_code": True, **spread}
    words = rerun_command(record(model=model).model_dump(mode="json", by_alias=True)).split()
    assert words[3:13] == [
        "--model", "some/model", "--revision", "abc123", "--device-map", "auto", "--dtype", "float32",
        "--trust-remote-code", "--preset"
    ]  # fmt: skip
    plain = {"id": "some/model", "device": "cpu", "dtype": "float32"}
    words = rerun_command(record(model=plain).model_dump(mode="json", by_alias=True)).split()
    assert words[4:9] == ["some/model", "--device", "cpu", "--dtype", "float32"]


def test_settings_in_the_command_are_read_back_as_they_were() -> None:
    from workbench.probe.contract import Config
    from workbench.probe.settings import parse

    class Settings(Config):
        n: int = 1
        haystack: str = ""
        layers: list[int] | None = None
        rule: str = ""

    given = {"n": 3, "haystack": "a, b = 'c'", "layers": [1, 2], "rule": "3"}
    made = record(spec={"given": given, "resolved": given, "seed": 0}).model_dump(mode="json", by_alias=True)
    words = shlex.split(rerun_command(made))
    pairs = [word for before, word in pairwise(words) if before == "--set"]
    assert Settings(**parse(pairs, Settings)) == Settings(**given)


@pytest.mark.parametrize(
    ("found", "control", "verdict"),
    [
        ((0.9, 0.8, 1.0), (0.5, 0.4, 0.6), "above the control, intervals apart"),
        ((0.1, 0.0, 0.2), (0.5, 0.4, 0.6), "below the control, intervals apart"),
        ((0.5, 0.4, 0.7), (0.6, 0.55, 0.8), "intervals overlap"),
        ((0.5, 0.4, 0.6), (0.45, None, None), "within the interval"),
        ((0.5, 0.4, 0.6), (0.7, None, None), "below the control, outside the interval"),
        ((0.5, None, None), (0.2, None, None), "above the control"),
        ((None, None, None), (0.2, None, None), "cannot be compared"),
        ((0.5, 0.4, 0.6), None, "no control"),
    ],
)
def test_a_headline_is_read_against_its_control(found: tuple, control: tuple | None, verdict: str) -> None:
    names = ("value", "low", "high")
    headline = {"name": "x_y", "n": 5, "unit": "", "split": "s", "method": "m", **dict(zip(names, found, strict=True))}
    headline["control"] = (
        None if control is None else {"name": "c", "n": None, **dict(zip(names, control, strict=True))}
    )
    assert row(headline).verdict == verdict and row(headline).label == "X y"


def test_a_strip_shares_one_scale() -> None:
    headline = {"value": -2.0, "low": -4.0, "high": 0.0, "control": {"value": 6.0, "low": None, "high": None}}
    drawn = strip(headline)
    assert drawn is not None and (drawn.start, drawn.end) == ("−5", "10")
    assert drawn.found.value == pytest.approx(3 / 15) and drawn.control.value == pytest.approx(11 / 15)
    shares = strip({"value": 0.5, "low": 0.3, "high": 0.7})
    assert shares is not None and (shares.start, shares.end) == ("0", "1") and shares.found.low == 0.3
    assert strip({"value": None}) is None


def test_a_control_in_another_unit_is_said_and_not_drawn() -> None:
    control = {"name": "accuracy at the median block", "value": 0.08, "n": 5, "unit": "share of pairs"}
    headline = {"name": "best_block", "value": 20.0, "n": 5, "unit": "block", "split": "s", "method": "m"}
    found = row({**headline, "control": control})
    assert found.verdict == "in another unit" and found.control_value == "0.08 share of pairs"
    assert found.strip is not None and found.strip.control is None and found.strip.end == "20"


def test_numbers_are_short() -> None:
    assert [digits(value) for value in (0.12345, 1234.0, -0.5, None, 1e-9, 1.4e-17)] == [
        "0.123",
        "1,234",
        "−0.5",
        "not defined",
        "1e−09",
        "0",
    ]
