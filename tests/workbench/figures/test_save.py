"""Figures as JSON, tables, files and in notebooks: exact, the same bytes each time, harmless."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tests.sample_figures import all_figures, curve, grid, one, several, text
from workbench.errors import UnknownName, UsageError
from workbench.figures import (
    Figure,
    Heatmap,
    Line,
    Tokens,
    load,
    matplotlib,
    save,
)
from workbench.figures.mime import PLOTLY
from workbench.figures.table import csv

FIGURES = all_figures()

NAMES = [figure.name for figure in FIGURES]


@pytest.mark.parametrize("figure", FIGURES, ids=NAMES)
def test_json_brings_the_same_figure_back(figure: Figure) -> None:
    written = figure.to_json()
    read = Figure.from_json(written)
    assert read.to_json() == written
    assert read.data.equals(figure.data)
    assert read.plotly().to_json() == figure.plotly().to_json()


@pytest.mark.parametrize("figure", FIGURES, ids=NAMES)
def test_a_figure_with_an_earlier_word_is_read(figure: Figure) -> None:
    written = figure.to_json()
    earlier = written.replace('"secondary":', '"muted":')
    assert Figure.from_json(earlier).to_json() == written
    assert "secondary" not in written or earlier != written


def test_json_keeps_numbers_exactly() -> None:
    values = np.asarray([[0.1, np.nan], [1 / 3, np.inf]], dtype=np.float32)
    read = Figure.from_json(one(Heatmap(values, range(2), [2, 4], "v"), Line([0.1, 1e-300], [1 / 3, 2], "l")).to_json())
    heatmap, line = read.panels[0].marks
    assert heatmap.values.dtype == np.float32
    np.testing.assert_array_equal(heatmap.values, values)
    assert line.x == [0.1, 1e-300] and line.y == [1 / 3, 2]
    whole = Figure.from_json(one(Heatmap(np.asarray([[2**31 + 1]]), [0], [0], "n")).to_json())
    assert whole.panels[0].marks[0].values.tolist() == [[2**31 + 1]]


@pytest.mark.parametrize("wrong", ["", "[]", "{}", '{"schema": 1, "panels": [{}]}', '{"schema": 9, "panels": []}'])
def test_what_is_no_figure_is_refused(wrong: str, tmp_path) -> None:
    with pytest.raises(UsageError, match="figure"):
        Figure.from_json(wrong)
    with pytest.raises(UsageError, match="cannot read"):
        load(tmp_path / "missing.json")


def test_an_unknown_mark_is_named() -> None:
    written = json.loads(grid().to_json())
    written["panels"][0]["marks"][0]["mark"] = "heatmpa"
    with pytest.raises(UnknownName, match="did you mean 'heatmap'"):
        Figure.from_json(json.dumps(written))


def test_data_holds_every_number_drawn() -> None:
    table = grid().data
    assert len(table) == 270
    row = table[(table.y == 17) & (table.x == 3)]
    assert row.value.item() == np.float32(0.53)
    lines = curve().data
    top = lines[lines.series == "top retrieval heads"]
    assert top.y.tolist() == [0.94, 0.81, 0.6, 0.31, 0.12, 0.05] and top.low.iloc[0] == pytest.approx(0.88)
    assert lines[lines.series == "half of the needles"].y.tolist() == [0.5]
    views = several().data
    assert set(views.panel) == {"By mode", "Heads", "Distributions", "Effects"}
    assert views[views.panel == "By mode"].x_name.tolist() == ["generated", "teacher-forced"] * 2
    assert len(views[views.panel == "Distributions"]) == 81
    assert text().data.name.tolist() == list(text().panels[0].marks[0].tokens)


def test_csv_is_harmless_in_a_spreadsheet() -> None:
    tokens = ["=1+1", "+x", "-x", "@x", "fine", "-"]
    written = csv(one(Tokens(tokens, [-1.0] * 6, "v")).data).splitlines()
    assert [line.split(",")[1] for line in written[1:]] == ["'=1+1", "'+x", "'-x", "'@x", "fine", "'-"]
    assert all(line.endswith(",-1") for line in written[1:])


def test_files_are_the_same_bytes_each_time(tmp_path) -> None:
    for figure in (grid(), several(), text()):
        first = [path.read_bytes() for path in save(figure, tmp_path / "a")]
        second = [path.read_bytes() for path in save(load(tmp_path / "a" / f"{figure.name}.json"), tmp_path / "b")]
        assert first == second
        assert first[1:] == [matplotlib.svg(figure).encode(), matplotlib.png(figure)]
        assert sorted(p.name for p in (tmp_path / "a").glob(f"{figure.name}.*")) == [
            f"{figure.name}.{kind}" for kind in ("json", "png", "svg")
        ]
    assert b"<dc:date>" not in (tmp_path / "a" / "grid.svg").read_bytes()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path) -> None:
    with pytest.raises(UsageError, match="file name"):
        save(dataclasses.replace(grid(), name=name), tmp_path)


@pytest.mark.parametrize("figure", FIGURES, ids=NAMES)
def test_a_notebook_keeps_a_static_figure_beside_the_interactive_one(figure: Figure) -> None:
    parts = figure._repr_mimebundle_()
    assert {PLOTLY, "image/svg+xml", "text/plain"} == set(parts)
    assert len(json.dumps(parts)) < 1_000_000
    drawn = ET.fromstring(parts["image/svg+xml"])
    assert (drawn.get("role"), drawn.get("aria-label")) == ("img", figure.alt) and figure.alt


def test_a_large_figure_stays_small_in_a_notebook() -> None:
    x = np.linspace(0, 1, 50_000)
    parts = one(Line(x, x**2, "a", x**2 - 0.1, x**2 + 0.1))._repr_mimebundle_()
    assert PLOTLY not in parts and len(json.dumps(parts)) < 1_000_000
