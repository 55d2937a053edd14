"""Reports: what they say, in every format, for finished, failed and several runs."""

from __future__ import annotations

import base64
import hashlib
import html as html_escape
import json
import re
import shlex
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from tests.sample_figures import HOSTILE
from tests.sample_reports import FakeRun, failed_run, hostile_run, record, sample_run
from workbench.errors import MissingExtra, UnknownName, UsageError, WorkbenchError
from workbench.figures import Figure
from workbench.reports import build, differences, html, write
from workbench.reports.commands import again
from workbench.reports.headlines import number, row, strip
from workbench.reports.markdown import escape


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return sample_run(tmp_path / "run")


@pytest.fixture
def small(tmp_path: Path) -> FakeRun:
    """A run with one figure."""
    run = sample_run(tmp_path / "run")
    run.figures = {"ablation": run.figures["ablation"]}
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeRun, str, Tags]:
    """A run with four figures, and its page."""
    run = sample_run(tmp_path_factory.mktemp("whole"))
    return run, *page_of([run])


class Tags(HTMLParser):
    """Counts elements, and keeps scripts, texts and ids."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._script: dict[str, str | None] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        self.links += [found["href"]] if tag == "a" and found.get("href") else []
        self.handlers += [name for name in found if name.startswith("on")]
        if tag == "script":
            self._script = found
            self.scripts.append((found, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[-1] = (self._script, self.scripts[-1][1] + data)
        else:
            self.text += data


def page_of(runs: list[FakeRun]) -> tuple[str, Tags]:
    page = html.render(build(runs))
    return page, Tags(page)


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
        "workbench run head-roles --model smollm2-135m-instruct-q4_1 --preset quick --seed 3 --set n=64 "
        "--set 'haystack=my essays.txt'",
        "412 passes",
        "copy score of each head",
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
    assert "copy score,17,3,0.53" in lines


def test_a_page_is_the_same_bytes_each_time_and_small_enough(whole: tuple[FakeRun, str, Tags]) -> None:
    run, page, _ = whole
    assert page == html.render(build([run]))
    assert 4e6 < len(page.encode()) < 6e6


def test_too_large_a_report_keeps_its_figures_static_and_then_is_refused(run: FakeRun, monkeypatch) -> None:
    monkeypatch.setattr(html, "INTERACTIVE_BYTES", 6_000)
    monkeypatch.setattr(html, "CSV_BYTES", 3_000)
    page, tags = page_of([run])
    assert tags.counts["figure"] == 4 and len(re.findall("data-spec=", page)) == 1
    assert "figures/grid.json of the run" in page and "tables/heads.csv of the run" in page
    monkeypatch.setattr(html, "MOST_BYTES", 1_000_000)
    with pytest.raises(WorkbenchError, match="report fewer runs"):
        page_of([run])


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
    assert [section.key for section in report.sections] == ["overview", "compare-1", "run-1", "run-2", "run-3"]
    _, tags = page_of(runs)
    assert "Head roles: 3 runs compared" in tags.text and tags.text.count("setting n") == 1
    compared = report.sections[1].blocks
    assert ("setting n", "64", "32", "64") in compared[0].rows and ("seed", "3", "4", "3") in compared[0].rows
    ablated = [row for row in compared[1].rows if row.name == "needle_recall_top_ablated"]
    assert [(row.of, row.value) for row in ablated] == [("run 1", "0.12"), ("run 2", "0.5")]
    cards = report.sections[0].blocks[0].cards
    assert [card.headline and card.headline.name for card in cards] == ["needle_recall", "needle_recall", None]
    assert cards[2].sentence == "WorkbenchError: out of memory; choose smaller settings"
    same = build([runs[0], runs[0]]).sections[1].blocks[0]
    assert same.paragraphs == ["Settings, model, data and environment were the same in all of them."]


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
        "environment.packages.numpy": [None, "2.4"],
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
    words = shlex.split(again(made))
    assert words[:9] == ["workbench", "run", "head-roles", "--model", "a b", "--adapter", "lora", "--engine", "nnsight"]
    assert words[9:17] == ["--device", "cuda:0", "--dtype", "bfloat16", "--preset", "quick", "--seed", "7"]
    assert set(words[17::2]) == {"--set"}
    assert words[18::2] == [
        "n=3", "haystack=it's; rm -rf $HOME", "layers=[1, 2]", 'rule="3"', "far=null", "on=true", 'x="none"'
    ]  # fmt: skip


def test_settings_in_the_command_are_read_back_as_they_were() -> None:
    from workbench.probe import Config
    from workbench.settings import parse

    class Settings(Config):
        n: int = 1
        haystack: str = ""
        layers: list[int] | None = None
        rule: str = ""

    given = {"n": 3, "haystack": "a, b = 'c'", "layers": [1, 2], "rule": "3"}
    made = record(spec={"given": given, "resolved": given, "seed": 0}).model_dump(mode="json", by_alias=True)
    words = shlex.split(again(made))
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
    assert [number(value) for value in (0.12345, 1234.0, -0.5, None, 1e-9, 1.4e-17)] == [
        "0.123",
        "1,234",
        "−0.5",
        "not defined",
        "1e−09",
        "0",
    ]


def test_hostile_text_stays_text_in_html(tmp_path: Path) -> None:
    _, tags = page_of([hostile_run(tmp_path), sample_run(tmp_path / "b"), hostile_run(tmp_path)])
    assert "img" not in tags.counts and tags.handlers == []
    assert all(attributes.get("type") == "application/json" or "Plotly" in text for attributes, text in tags.scripts)
    assert tags.text.count("{{7*7}}") > 20 and tags.text.count("window.hit=1") > 20
    assert next(json.loads(t) for a, t in tags.scripts if a.get("class") == "run")["record"]["id"] == HOSTILE


def test_markdown_has_its_figures_beside_it(run: FakeRun, tmp_path: Path) -> None:
    path = write(run, tmp_path / "out" / "my report.md")
    text = path.read_text()
    for link in re.findall(r"\]\(<([^>]+)>\)", text):
        assert (path.parent / link.replace("%20", " ")).is_file(), link
    assert len(list((tmp_path / "out" / "my report_files").glob("*.svg"))) == 4
    assert r"| Needle recall | 0.94 | \[0.88, 0.98\] 95 % | no needle in the text 0 \[0, 0.06\] |" in text
    assert "```sh\nworkbench run head-roles" in text


def test_hostile_text_stays_text_in_markdown(tmp_path: Path) -> None:
    from mistune import create_markdown

    page = create_markdown(escape=False, plugins=["table", "strikethrough", "url", "math"])(
        write(hostile_run(tmp_path), tmp_path / "h.md").read_text()
    )
    tags = Tags(str(page))
    assert set(tags.counts) <= {"h1", "h2", "h3", "h4", "p", "table", "thead", "tbody", "tr", "th", "td", "img", "a",
                               "ul", "li", "blockquote", "pre", "code"}  # fmt: skip
    assert tags.counts["img"] == 1 and tags.handlers == [] and "{{7*7}}" in tags.text
    assert escape("a_b*c|[d](e) <x> `y` $z$ http://q") == (r"a\_b\*c\|\[d\]\(e\) &lt;x&gt; \`y\` \$z\$ http\://q")


def test_json_holds_records_and_figures(run: FakeRun, tmp_path: Path) -> None:
    read = json.loads(write([run, failed_run(tmp_path)], tmp_path / "r.json").read_text())
    assert [one["record"] for one in read["runs"]] == [run.record, failed_run(tmp_path).record]
    figures = [Figure.from_json(json.dumps(figure)) for figure in read["runs"][0]["figures"]]
    assert [figure.to_json() for figure in figures] == [figure.to_json() for figure in run.figures.values()]
    assert "status" in [one["field"] for one in read["differences"]]


def test_a_notebook_reads_as_a_document(run: FakeRun, tmp_path: Path) -> None:
    import nbformat
    from nbconvert import HTMLExporter

    path = write(run, tmp_path / "sub" / "r.ipynb")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].source == "import workbench as wb\n\nrun_1 = wb.open('../run')"
    assert [cell.source for cell in code[1:]] == [f"run_1.figures[{name!r}]" for name in run.figures]
    for cell in code[1:]:
        assert {"image/svg+xml", "application/vnd.plotly.v1+json", "text/plain"} <= set(cell.outputs[0].data)
    page = HTMLExporter().from_notebook_node(notebook)[0]
    assert page.count("<svg") >= 4 or page.count("data:image/svg+xml") >= 4
    assert path.stat().st_size < 1_000_000


def test_hostile_text_stays_text_in_a_notebook(tmp_path: Path) -> None:
    from mistune import create_markdown

    notebook = json.loads(write(hostile_run(tmp_path), tmp_path / "r.ipynb").read_text())
    render = create_markdown(escape=False, plugins=["table", "math"])
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            assert not {"img", "script", "b"} & set(Tags(str(render(source))).counts), source
        else:
            compile(source, "cell", "exec")


def test_a_pdf_is_made_without_a_browser(small: FakeRun, tmp_path: Path) -> None:
    pytest.importorskip("weasyprint")
    path = write(small, tmp_path / "r.pdf")
    assert path.read_bytes().startswith(b"%PDF-") and 20_000 < path.stat().st_size < 2_000_000
    first = path.read_bytes()
    assert write(small, path).read_bytes() == first


def test_a_missing_extra_is_named(run: FakeRun, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingExtra, match=r"pip install 'workbench\[pdf\]'"):
        write(run, tmp_path / "r.pdf")
    assert not (tmp_path / "r.pdf").exists()


def test_every_format_is_the_same_bytes_each_time(small: FakeRun, tmp_path: Path) -> None:
    for kind in ("html", "md", "json", "ipynb"):
        first = write([small, failed_run(tmp_path / "f")], tmp_path / f"r.{kind}").read_bytes()
        assert write([small, failed_run(tmp_path / "f")], tmp_path / f"r.{kind}").read_bytes() == first
    assert not list(tmp_path.rglob("*.tmp"))


def test_wrong_use_is_answered_in_one_line(run: FakeRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"r\.docx.*\.html.*ipynb"):
        write(run, tmp_path / "r.docx")
    with pytest.raises(UnknownName, match="did you mean 'html'"):
        write(run, tmp_path / "r", to="htm")
    with pytest.raises(UsageError, match="at least one run"):
        write([], tmp_path / "r.html")
    with pytest.raises(UsageError, match="is a folder"):
        write(run, tmp_path, to="json")
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkbenchError, match="cannot write the report"):
        write(run, tmp_path / "file" / "r.json")
    (tmp_path / "r_files").write_text("")
    with pytest.raises(WorkbenchError, match="in the way"):
        write(run, tmp_path / "r.md")
    assert write(run, tmp_path / "page", to="json").name == "page"


def test_a_failed_write_leaves_the_old_report(run: FakeRun, tmp_path: Path, monkeypatch) -> None:
    path = write(run, tmp_path / "r.json")
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(WorkbenchError, match="No space left"):
        write(run, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir() if p.is_file()] == ["r.json"]
