"""What is taken away from a page holds what the page shows."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sample_figures import HOSTILE, grid
from tests.sample_runs import write_run
from workbench.dashboards.components.export import PageSnapshot, report, snippet, without_texts
from workbench.dashboards.components.plotly_pane import spec_of
from workbench.figures.plotly import plotly_dict
from workbench.probe.explore import complete
from workbench.reports.redacted import mask
from workbench.runs.run import Run


@pytest.fixture
def run(viewed: dict[str, Any]) -> Run:
    return viewed["profile"]


def given(lines: str) -> Any:
    """What the lines of Python give."""
    names: dict[str, Any] = {}
    exec(lines, names)
    return names["figure"]


def test_the_lines_of_python_give_the_same_figures(run: Run) -> None:
    for name in run.figures:
        assert given(snippet(run, name)).to_json() == run.figures[name].to_json()
    chosen = {"layer": 1, "head": 2, "query": 40, "text": 0}
    for figure in run.details(**chosen).figures:
        assert given(snippet(run, figure.name, chosen)).to_json() == figure.to_json()


def test_a_path_of_any_signs_is_python(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s a "run"\\{}'
    run = Run(folder / write_run(folder))
    assert given(snippet(run, "grid")).to_json() == run.figures["grid"].to_json()


def test_a_report_of_a_view_holds_the_figures_of_the_choice(run: Run) -> None:
    details = run.details(layer=1, head=2)
    made = report(PageSnapshot(run, details.figures, details.note)).decode()
    for figure in [*run.figures.values(), *details.figures]:
        assert made.count(figure.title.replace("'", "&#39;")) >= 1
    assert "Head 1.2 gives" in made


def test_a_report_of_a_hostile_run_holds_no_markup_of_it(tmp_path: Path) -> None:
    hostile = Run(tmp_path / write_run(tmp_path, model="m", words=HOSTILE))
    made = report(PageSnapshot(hostile, (), HOSTILE)).decode()
    assert "<img src=x" not in made


def test_a_drawing_has_the_figure_and_leaves_the_theme_to_the_page() -> None:
    spec = spec_of(plotly_dict(grid()), grid().alt)
    assert '"template"' not in spec
    assert '"heatmap"' in spec


def texts_of(run: Run) -> set[str]:
    """Every text of eight or more signs that a run keeps along its items."""
    found = set(mask(run.data).texts)
    assert found
    return {text for text in found if len(text.strip()) >= 8}


@pytest.mark.parametrize("name", ["roles", "knob"])
def test_a_report_of_a_view_without_texts_holds_none(name: str, viewed: dict[str, Any]) -> None:
    run = viewed[name]
    run.notes = "Zanzibar4711"
    chosen = complete(run.coordinates, {})
    details = run.details(**chosen)
    whole = report(PageSnapshot(run, details.figures, details.note, details.tables)).decode()
    bare = report(without_texts(run, chosen)).decode()
    run.notes = ""
    known = texts_of(run) | {"Zanzibar4711"}
    assert known and any(escape(text) in whole for text in known) and "Zanzibar4711" in whole
    assert [text for text in known if text in bare or escape(text) in bare] == []
    assert "Texts were left out of this report" in bare and "[text 1]" in bare
    drawn = without_texts(run, chosen)
    assert [one.name for one in drawn.chosen] == [one.name for one in details.figures]
    assert [len(one.rows) for one in drawn.told] == [len(one.rows) for one in details.tables]


def test_tokens_are_not_told_by_their_numbers_either(run: Run) -> None:
    chosen = {"layer": 1, "head": 2, "query": 40, "text": 1}
    ids = run.data["positions"].to_dataset()["token_id"].sel(example=1).values
    told = without_texts(run, chosen)
    shown = next(one for one in told.chosen if one.name == "keys").data["name"].tolist()
    saved = run.details(**chosen)["keys"].data["name"].tolist()
    keys = [int(name.split(" · ")[1]) for name in saved]
    assert [name.split(" · ")[0] for name in saved] == [f"[{ids[key]}]" for key in keys]
    hidden = mask(run.data).tree["positions"]["token_id"].sel(example=1).values
    assert [name.split(" · ")[0] for name in shown] == [f"[{hidden[key]}]" for key in keys]
    assert len(set(zip(ids.tolist(), hidden.tolist(), strict=True))) == len(set(ids.tolist()))
    assert not np.array_equal(ids, hidden)
