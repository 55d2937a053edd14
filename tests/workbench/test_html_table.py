"""What a notebook shows of the workbench's objects: readable, escaped, and progress that is written over in place."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

import workbench as wb
from tests.conftest import tiny
from tests.sample_runs import write_run
from workbench import progress_bars
from workbench.progress import Progress
from workbench.runs.run import Figures

HOSTILE = "<img src=x onerror=alert(1)></script><b>$x$\x1b[2J\r`|`"
ALLOWED = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "span"}


class Seen(HTMLParser):
    """The tags of a piece of HTML, their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.pieces: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.pieces.append(data)


@pytest.fixture
def run(tmp_path):
    return wb.open(tmp_path / write_run(tmp_path, words=HOSTILE))


@pytest.fixture
def session():
    return wb.load(tiny("llama"), tokenizer=None)


def objects(run):
    return [run, run.summary, run.headline, run.figures, run.typed_record, *run.headline.values()]


def test_hostile_text_stays_text(run):
    for one in objects(run):
        bundle = one._repr_mimebundle_()
        seen = Seen(bundle["text/html"])
        assert seen.tags <= ALLOWED and seen.attributes <= {"style", "scope"}
        assert "\x1b" not in bundle["text/html"] + bundle["text/plain"] and "\r" not in bundle["text/plain"]
        assert all(piece.count("$") < 2 for piece in seen.pieces)
        if not isinstance(one, Figures):
            assert "<img src=x onerror=alert(1)></script>" in "".join(seen.pieces)


def test_a_run_says_what_was_found_how_sure_and_against_what(run):
    for kind in ("text/plain", "text/html"):
        shown = run._repr_mimebundle_()[kind]
        for word in (
            "Three of 270 heads",
            "0.08 [0.02, 0.16]",
            "random heads",
            "0.85 [0.8, 0.9]",
            "held-out",
            "success",
        ):
            assert word in shown


def test_a_record_lists_its_limits_and_failed_checks(run):
    record = run.typed_record
    record.checks[0].passed = False
    shown = record._repr_mimebundle_()["text/plain"]
    assert "0 of 1 passed" in shown and "failed checks: splits share no needle" in shown and "4-bit" in shown


def test_a_failed_run_says_why(tmp_path):
    run = wb.open(tmp_path / write_run(tmp_path, status="error"))
    assert "WorkbenchError: no space left" in run._repr_mimebundle_()["text/plain"]


def test_a_headline_says_how_its_interval_was_made(run):
    shown = run.headline["needle_recall_top_ablated"]._repr_mimebundle_()["text/plain"]
    assert "95% interval" in shown and "bootstrap over needles" in shown and "random heads" in shown


def test_a_session_shows_its_sizes_and_a_closed_one_that_it_is_closed(session):
    shown = session._repr_mimebundle_()["text/plain"]
    assert "3 × 4, 2 key-value heads" in shown and "float32" in shown and "none: give token ids" in shown
    session.close()
    assert session._repr_mimebundle_()["text/plain"] == "Session(closed)"


def test_captured_shows_axes_and_shapes(session):
    shown = session.capture([1, 2, 3], ["z.1.2", "pattern.0"])._repr_mimebundle_()["text/plain"]
    assert "batch, position, d_head" in shown and "1 × 3 × 8" in shown
    assert "batch, head, query, key" in shown and "1 × 4 × 3 × 3" in shown


def test_progress_in_a_notebook_is_one_line_that_is_gone_at_the_end(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(progress_bars, "updating", lambda: (lines.append, lambda: lines.append("")))
    with progress_bars.one_line_in_place() as listen:
        for done in range(101):
            listen(Progress(done, 100, "needles\x1b[2J", 3.0))
    assert lines[0].startswith("░") and lines[-2].startswith("█" * progress_bars.WIDTH) and lines[-1] == ""
    assert "needles�[2J: 100 of 100, 3.0 s left" in lines[-2]
    assert len(lines) < 10
