"""The formats beside HTML, and how a report is written."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.sample_reports import FakeRun, failed_run, hostile_run
from tests.workbench.reports.pages import Tags
from workbench.errors import MissingExtra, UnknownName, UsageError, WorkbenchError
from workbench.figures import Figure
from workbench.reports import write
from workbench.reports.markdown import escape


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
