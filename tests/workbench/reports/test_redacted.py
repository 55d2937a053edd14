"""Reports without prompts: a marker that stands in every text of a run is nowhere in any format."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import xarray as xr
from pydantic import Field

from tests.sample_reports import FakeRun, record
from workbench.figures import Axis, Bars, Figure, Panel, Tokens
from workbench.probe.contract import Config, Outcome, Probe
from workbench.probe.registry import PROBES
from workbench.records.record import ErrorInfo, Record, Spec
from workbench.reports import build, write
from workbench.reports.redacted import LEFT_OUT, NOTICE, Redacted, mask

MARKER = "Zanzibar4711"
TEXTS = [f"{MARKER} was here", f"ask {MARKER}", f"{MARKER} was here"]


class MarkedConfig(Config):
    note: str = Field("none", description="anything", json_schema_extra={"format": "text"})
    mode: Literal["up", "down"] = Field("up", description="which way")
    n: int = 3


class Marked(Probe[MarkedConfig]):
    """Quotes its texts wherever a probe can."""

    name = "marked"
    question = "Is a text left?"
    method = "quoting"
    Config = MarkedConfig
    presets: ClassVar = {"smoke": {}, "quick": {}, "full": {}}

    def work(self, session: Any, config: MarkedConfig) -> Sequence[Any]:
        return []

    def run(self, session: Any, config: MarkedConfig, context: Any) -> Outcome:
        raise NotImplementedError

    def figures(self, data: xr.DataTree, record: Record) -> Sequence[Figure]:
        words, values = [str(word) for word in data["said"].values], data["score"].values.tolist()
        ticks = Axis(f"item {words[0]}", ticks=[0, 1, 2], tick_labels=words)
        marks = [Bars([0, 1, 2], values, words[1], names=words)]
        read = [Tokens(words, values, "score")]
        said = f"The heaviest is {words[0]}."
        longest = max(len(word) for word in words)
        return [
            Figure("bars", said, [Panel(marks, ticks, Axis("score"), words[0])], said, said),
            Figure("words", "Words", [Panel(read, Axis("token"), Axis(""))], said, said),
            # What depends on the texts themselves cannot be drawn without them.
            Figure("lengths", "Lengths", [Panel([Bars([0], [longest])], Axis("x"), Axis("y"))], said, said),
        ]

    def summary(self, data: xr.DataTree, record: Record) -> Sequence[str]:
        return [f"In mode {data['mode'].values[0]!s} it said {data['said'].values[0]!s}."]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[FakeRun]:
    """A run whose every text holds the marker."""
    PROBES.add(Marked)
    tree = xr.DataTree(
        xr.Dataset(
            {"said": ("example", np.array(TEXTS)), "score": ("example", [0.25, 0.5, 0.75])},
            {"mode": ("condition", ["up", "down"])},
        )
    )
    folder = tmp_path / "run"
    (folder / "tables").mkdir(parents=True)
    cells = zip(["up", "down", "up"], "123", TEXTS, strict=True)
    rows = [f'{mode},{score},"{text}\nand more"' for mode, score, text in cells]
    (folder / "tables" / "answers.csv").write_text("mode,score,said\n" + "\n".join(rows) + "\n")
    settings = {"note": MARKER, "mode": "down", "n": 3}
    changes: dict[str, Any] = {
        "probe": "marked",
        "spec": Spec(given=settings, resolved=settings),
        "limits": [f"It saw {TEXTS[0]} alone."],
        "error": ErrorInfo(kind="ValueError", message=f"cannot read {MARKER}", traceback=MARKER),
    }
    typed = record(**changes)
    probe = Marked()
    figures = {figure.name: figure for figure in probe.figures(tree, typed)}
    dumped = typed.model_dump(mode="json", by_alias=True)
    yield FakeRun(folder, dumped, figures, list(probe.summary(tree, typed)), tree)
    PROBES._known.pop("marked", None)


def everything(folder: Path) -> str:
    """All that was written, and what lies packed in it."""
    text = "\n".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())
    packed = re.findall(r"base64,([A-Za-z0-9+/=]{8,})", text)
    return text + "\n".join(base64.b64decode(one).decode(errors="replace") for one in packed)


@pytest.mark.parametrize("kind", ["html", "md", "json", "ipynb"])
def test_no_format_holds_a_text(run: FakeRun, tmp_path: Path, kind: str) -> None:
    for prompts in (True, False):
        folder = tmp_path / str(prompts)
        write(run, folder / f"report.{kind}", prompts=prompts)
        assert (MARKER in everything(folder)) is prompts


def test_what_every_format_is_made_of_holds_no_text(run: FakeRun) -> None:
    assert MARKER in repr(build([run]))
    assert MARKER not in repr(build([Redacted(run)])) + repr(build([Redacted(run), Redacted(run)]))


def test_what_is_no_text_stays(run: FakeRun, tmp_path: Path) -> None:
    shown = Redacted(run)
    assert shown.summary == ["In mode up it said [text 1]."]
    assert shown.figures["bars"].panels[0].marks[0].names == ["[text 1]", "[text 2]", "[text 1]"]
    assert shown.figures["bars"].data["y"].tolist() == [0.25, 0.5, 0.75]
    assert shown.record["spec"]["given"] == {"note": LEFT_OUT, "mode": "down", "n": 3}
    page = write(run, tmp_path / "r.md", prompts=False).read_text()
    assert NOTICE.split(":")[0] in page and "Figure lengths cannot be shown" in page
    assert "| mode | score |" in page


def test_numbers_and_names_of_conditions_are_not_masked(run: FakeRun) -> None:
    masked = mask(run.data)
    assert masked.labels == {"up", "down"} and set(masked.texts) == set(TEXTS)
    assert masked.tree["said"].values.tolist() == ["[text 1]", "[text 2]", "[text 1]"]
    assert run.data["said"].values.tolist() == TEXTS
    assert masked.tree["score"].equals(run.data["score"])


def test_a_run_of_an_unknown_probe_shows_no_figure(run: FakeRun) -> None:
    PROBES._known.pop("marked")
    shown = Redacted(run)
    assert shown.summary == [] and MARKER not in repr(build([shown]))
    assert "Summary and figures could not be made again without the texts: its probe is not here" in shown.notice


@pytest.mark.parametrize(("part", "said"), [("summary", "The summary"), ("figures", "The figures")])
def test_a_bug_of_the_probe_hides_nothing_in_silence(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, part: str, said: str
) -> None:
    def broken(self: Marked, data: xr.DataTree, record: Record) -> Any:
        raise KeyError(f"{MARKER} is not there")

    monkeypatch.setattr(Marked, part, broken)
    page = repr(build([Redacted(run)]))
    assert f"{said} could not be made again without the texts: KeyError" in page and MARKER not in page


def test_data_that_cannot_be_read_are_not_left_out_in_silence(run: FakeRun) -> None:
    run.tree = None
    assert "The data that summary and figures are made from could not" in Redacted(run).notice


def test_a_bug_in_what_was_chosen_is_told_too(run: FakeRun) -> None:
    shown = Redacted(run)
    assert not shown.details().figures and "What was chosen on the page could not" in shown.notice
    assert shown.notice.startswith(NOTICE) and shown.notice != NOTICE
