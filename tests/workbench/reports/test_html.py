"""The page of a run: what it says, for finished, failed and hostile runs, and what it must not do."""

from __future__ import annotations

import base64
import hashlib
import html as html_escape
import json
import re
from pathlib import Path

import pytest

from tests.sample_figures import HOSTILE
from tests.sample_reports import FakeRun, failed_run, hostile_run, sample_run
from tests.sample_runs import write_run
from tests.workbench.reports.pages import Tags, page_of
from workbench.errors import WorkbenchError
from workbench.figures import Figure, matplotlib
from workbench.reports import build, html, pictures
from workbench.reports.redacted import Redacted
from workbench.runs.run import Run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeRun, str, Tags]:
    """A run with four figures, and its page."""
    run = sample_run(tmp_path_factory.mktemp("whole"))
    return run, *page_of([run])


def test_the_page_says_all_that_a_reviewer_needs(whole: tuple[FakeRun, str, Tags]) -> None:
    run, page, tags = whole
    for said in (
        "Head roles on smollm2-135m-instruct-q4_1",
        run.summary[0],
        "20 random sets of 8, matched per layer",
        "0.85 [0.79, 0.9]",
        "below the control, intervals apart",
        "counted, no interval",
        "1,280",
        "percentile bootstrap over needles, 2000 draws",
        "held-out needles",
        "The weights are 4-bit (Q4_1)",
        "answer is not one token: 2",
        "Q4_1 (4 bits a weight), dequantised to float32",
        run.record["model"]["fingerprint"],
        "0f24fee8a1",
        "largest error 3e-7",
        "workbench run head-roles --model smollm2-135m-instruct-q4_1 --device cpu --dtype float32 --preset quick "
        "--seed 3 --set n=64 --set 'haystack=my essays.txt'",
        "412 passes",
        "retrieval score of each head",
    ):
        assert html_escape.escape(said, quote=False).replace("'", "&#39;") in page, said
    for figure in run.figures.values():
        assert figure.title in page and figure.caption in page and figure.alt in page
        assert f'download="{figure.name}.csv"' in page
    headings = ["Summary", "Headlines", "Figures", "Tables", "Checks", "Limits", "Run it again", "Provenance"]
    assert [page.index(f">{heading}</h2>") for heading in headings] == sorted(
        page.index(f">{heading}</h2>") for heading in headings
    )
    assert tags.counts["h1"] == 1 and "h6" not in tags.counts


def test_the_page_holds_together(small: FakeRun) -> None:
    _, tags = page_of([small, small])
    assert len(tags.ids) == len(set(tags.ids))
    assert {link[1:] for link in tags.links if link.startswith("#")} <= set(tags.ids)
    assert all(link.startswith(("#", "data:text/csv;base64,")) for link in tags.links)
    assert tags.handlers == []


def test_only_our_own_scripts_may_run(whole: tuple[FakeRun, str, Tags]) -> None:
    _, page, tags = whole
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in html_escape.unescape(policy[1]).split(";"))
    assert rules["default-src"] == rules["connect-src"] == "'none'" and rules["img-src"] == "data:"
    code = [text for attributes, text in tags.scripts if attributes.get("type") != "application/json"]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in code}
    assert len(code) == 2 and set(rules["script-src"].split()) == hashes
    assert page.index("Content-Security-Policy") < page.index("<script") and page.index("<style") < page.index(
        "<script"
    )
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert set(re.findall(r"https?://[^\s\"'<>)]*", outside)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_the_record_is_in_the_page(whole: tuple[FakeRun, str, Tags]) -> None:
    run, _, tags = whole
    islands = [json.loads(text) for attributes, text in tags.scripts if attributes.get("class") == "run"]
    assert [island["record"] for island in islands] == [run.record]


def test_numbers_behind_a_figure_can_be_downloaded(whole: tuple[FakeRun, str, Tags]) -> None:
    page = whole[1]
    found = re.search(r'<a href="data:text/csv;base64,([^"]+)" download="grid.csv"', page)
    assert found is not None
    lines = base64.b64decode(found[1]).decode().splitlines()
    assert lines[0] == "series,y,x,value" and len(lines) == 271
    assert "retrieval score,17,3,0.53" in lines


def test_a_page_is_the_same_bytes_each_time_and_small_enough(whole: tuple[FakeRun, str, Tags]) -> None:
    run, page, _ = whole
    assert page == html.render(build([run]))
    assert 4e6 < len(page.encode()) < 6e6


def test_too_large_a_report_leaves_out_what_moves_then_numbers_then_figures(run: FakeRun, monkeypatch) -> None:
    monkeypatch.setattr(html, "INTERACTIVE_BYTES", 6_000)
    monkeypatch.setattr(html, "CSV_BYTES", 3_000)
    page, tags = page_of([run])
    assert tags.counts["figure"] == 4 and len(re.findall("data-spec=", page)) == 1 and "plotly.js v" in page
    assert "figures/grid.json of the run" in page and "tables/heads.csv of the run" in page
    assert "To keep this file small" not in page
    sizes = []
    for notice, numbers, drawn in (("answer to the mouse", 1, 1), ("their numbers", 0, 1), ("are left out;", 0, 0)):
        monkeypatch.setattr(html, "MOST_BYTES", len(page.encode()) - 1)
        page, tags = page_of([run])
        sizes.append(len(page.encode()))
        assert notice in tags.text and 'data-spec="run' not in page and "plotly.js v" not in page
        assert bool(re.search("Numbers in the figure", page)) is bool(numbers)
        assert ('class="static' in page) is bool(drawn)
        assert "figures/grid.svg of the run" in page or drawn
    assert sizes == sorted(sizes, reverse=True)
    monkeypatch.setattr(html, "MOST_BYTES", 10_000)
    with pytest.raises(WorkbenchError, match="report fewer runs"):
        page_of([run])


def test_a_report_shows_the_pictures_that_the_run_saved(tmp_path: Path, monkeypatch) -> None:
    saved = Run(tmp_path / write_run(tmp_path))
    drawn = page_of([saved])[0]

    def draw(*given, **how):
        raise AssertionError("drawn again")

    monkeypatch.setattr(matplotlib, "draw", draw)
    page, tags = page_of([saved])
    assert page == drawn and tags.counts["figure"] == len(saved.figures)
    tops = [float(top) for top in re.findall(r'<svg xmlns=[^>]*viewBox="0 ([\d.]+)', page)]
    assert "title-above" not in page and len(tops) == len(saved.figures) and all(10 < top < 60 for top in tops)
    saved.report(tmp_path / "r.md")
    kept = (tmp_path / "r_files" / "run-1-figure-1.svg").read_text()
    assert kept.startswith("<svg") and "title-above" not in kept and "#ffffff" in kept
    bare = Redacted(saved)
    assert not hasattr(bare, "saved_svg"), "a saved picture may hold texts"


def test_a_saved_picture_that_was_changed_is_drawn_again_and_a_foreign_one_is_made_harmless(tmp_path: Path) -> None:
    run = Run(tmp_path / write_run(tmp_path))
    path = run.folder / "figures" / "grid.svg"
    kept = path.read_text()
    path.write_text(kept.replace("</svg>", '<text id="evil">changed</text></svg>'))
    assert run.saved_svg("grid") is None and "changed</" not in page_of([run])[0]
    hostile = kept.replace(
        "</svg>",
        '<script>hit()</script><g onload="hit()"><text x="1" y="2" onclick="hit()">words</text></g>'
        '<image href="https://elsewhere.example/x.png"/><use href="https://elsewhere.example/#x"/>'
        '<rect style="fill: url(https://elsewhere.example/x)"/><foreignObject><b>bold</b></foreignObject></svg>',
    )
    inline = pictures.inline_svg(run.figures["grid"], "key", hostile)
    assert inline is not None and "words" in inline
    for sign in ("script", "hit()", "onload", "onclick", "elsewhere", "foreignObject", "bold"):
        assert sign not in inline
    figure, entity = run.figures["grid"], '<!DOCTYPE x [<!ENTITY a "b">]><svg/>'
    for broken in ("no svg", "<svg/>", kept.replace("title-above-", "title-"), entity):
        assert pictures.inline_svg(figure, "key", broken) == pictures.inline_svg(figure, "key")


def test_a_report_without_figures_carries_no_plotly(tmp_path: Path) -> None:
    page, tags = page_of([failed_run(tmp_path)])
    assert len(page) < 60_000
    assert "This run failed" in tags.text and "out of memory; choose smaller settings" in tags.text
    assert "Headlines" not in tags.text and "Traceback" not in tags.text


@pytest.mark.parametrize("status", ["cancelled", "interrupted", "started"])
def test_an_unfinished_run_shows_what_is_there_and_why(status: str, tmp_path: Path) -> None:
    run = sample_run(tmp_path, status=status)
    run.figures = {"text": run.figures["text"]}
    _, tags = page_of([run])
    told = {"cancelled": "was cancelled", "interrupted": "was interrupted", "started": "has not finished"}[status]
    assert told in tags.text and tags.counts["figure"] == 1


def test_a_figure_that_cannot_be_read_is_named_and_the_rest_shown(run: FakeRun) -> None:
    class Broken(dict):
        def __getitem__(self, name: str) -> Figure:
            if name == "ablation":
                raise WorkbenchError("figures/ablation.json is changed")
            return super().__getitem__(name)

    run.figures = Broken(run.figures)
    _, tags = page_of([run])
    assert tags.counts["figure"] == 3
    assert "Figure ablation cannot be shown: figures/ablation.json is changed" in tags.text


def test_hostile_text_stays_text_in_html(tmp_path: Path) -> None:
    _, tags = page_of([hostile_run(tmp_path), sample_run(tmp_path / "b"), hostile_run(tmp_path)])
    assert "img" not in tags.counts and tags.handlers == []
    assert all(attributes.get("type") == "application/json" or "Plotly" in text for attributes, text in tags.scripts)
    assert tags.text.count("{{7*7}}") > 20 and tags.text.count("window.hit=1") > 20
    assert next(json.loads(t) for a, t in tags.scripts if a.get("class") == "run")["record"]["id"] == HOSTILE
