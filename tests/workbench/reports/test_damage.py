"""A report of a run whose files are not what was written says so, in every format and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from workbench.reports.damage import damage


@pytest.fixture
def damaged(session: wb.Session, at: Path) -> wb.Run:
    run = wb.run("mean-logits", session, preset="smoke", runs=at / "runs", progress=False)
    assert damage(run) == ""
    with (run.folder / "tables" / "means.csv").open("a") as file:
        file.write("9,9\n")
    record = run.folder / "record.json"
    record.write_text(record.read_text().replace("Random prompts are no text.", "None."))
    return wb.open(run.folder)


@pytest.fixture(scope="module")
def session() -> wb.Session:
    from tests.conftest import tiny

    return wb.load(tiny("llama"))


@pytest.mark.parametrize("end", ["html", "md", "ipynb", "json"])
@pytest.mark.parametrize("prompts", [True, False])
def test_every_format_says_it(damaged: wb.Run, at: Path, end: str, prompts: bool) -> None:
    text = damaged.report(at / f"report.{end}", prompts=prompts).read_text().replace("\\", "")
    assert "This run is damaged" in text
    assert "record.json is changed" in text and "tables/means.csv is changed" in text


def test_a_report_of_several_says_which(damaged: wb.Run, session: wb.Session, at: Path) -> None:
    from workbench.reports import write

    sound = wb.run("mean-logits", session, preset="smoke", runs=at / "runs", progress=False)
    path = write([sound, damaged], at / "both.json")
    told = [run["damage"] for run in json.loads(path.read_text())["runs"]]
    assert told[0] == "" and told[1].startswith("This run is damaged")
    text = write([sound, damaged], at / "both.md").read_text().replace("\\", "")
    assert "Run 2: This run is damaged" in text and "Run 1: This run" not in text


def test_the_command_says_it_on_stderr(damaged: wb.Run, at: Path, cli: Any) -> None:
    said = cli("report", damaged.folder, "-o", at / "report.md")
    assert said.status == 0 and "is damaged" in said.err and (at / "report.md").exists()
