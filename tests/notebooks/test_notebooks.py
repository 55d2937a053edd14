"""The notebooks run from top to bottom, are their sources, and show their results where nothing can run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from workbench.records import store

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
MOST_BYTES = 1_000_000
PATH = re.compile(r"(?<![\w.~:])/(?:home|root|work|tmp|usr|opt|var|Users)/|site-packages|[A-Z]:\\\\")


def _tool() -> Any:
    spec = importlib.util.spec_from_file_location("notebooks_execute", FOLDER / "execute.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _tool()
NAMES = TOOL.names()


def _outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.fixture(params=NAMES)
def written(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Each notebook as it lies beside its source."""
    import nbformat

    return request.param, nbformat.read(FOLDER / f"{request.param}.ipynb", as_version=4)


def test_there_is_a_tour_and_one_for_every_probe_of_the_package() -> None:
    ours = {name for name in wb.PROBES.names() if type(wb.PROBES.get(name)).__module__.startswith("workbench.probes.")}
    assert set(NAMES) >= {"tour"} | ours


@pytest.mark.model
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_PRESET", "smoke")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = TOOL.execute(name, "smoke", folder, timeout=300)
    kinds = {kind for output in _outputs(notebook) for kind in output.get("data", {})}
    assert {"application/vnd.plotly.v1+json", "image/svg+xml", "text/html", "text/plain"} <= kinds
    found = store.listing(tmp_path / "runs")
    ended = {(record.status, record.preset) for record in found.records}
    assert ended == ({("success", "smoke")} if "wb.run(" in (FOLDER / f"{name}.py").read_text("utf-8") else set())
    assert not found.unreadable
    tidy = TOOL.tidy(notebook)
    assert {kind for output in _outputs(tidy) for kind in output.get("data", {})} <= set(TOOL.STATIC)


def test_it_is_its_source_with_outputs(written: tuple[str, Any]) -> None:
    name, notebook = written
    source = TOOL.read(name)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ]
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_it_shows_no_error_and_nothing_of_the_machine_it_was_run_on(written: tuple[str, Any]) -> None:
    name, notebook = written
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MOST_BYTES
    assert not [output for output in _outputs(notebook) if output.output_type == "error"]
    shown = [
        text for output in _outputs(notebook) for text in (*output.get("data", {}).values(), output.get("text", ""))
    ]
    assert not [found.group() for text in shown if (found := PATH.search(str(text)))]
    assert any("image/svg+xml" in output.get("data", {}) for output in _outputs(notebook))
    assert all("text/plain" in output.data for output in _outputs(notebook) if "data" in output)


@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_it_survives_nbconvert(kind: str) -> None:
    import nbformat
    from nbconvert import HTMLExporter, MarkdownExporter

    notebook = nbformat.read(FOLDER / "tour.ipynb", as_version=4)
    body, resources = {"html": HTMLExporter, "markdown": MarkdownExporter}[kind]().from_notebook_node(notebook)
    figures = sum("image/svg+xml" in output.get("data", {}) for output in _outputs(notebook))
    tables = sum("<table" in output.get("data", {}).get("text/html", "") for output in _outputs(notebook))
    drawn = body.count("data:image/svg+xml") if kind == "html" else len(resources["outputs"])
    assert drawn >= figures > 0 and body.count("<table") >= tables > 0
