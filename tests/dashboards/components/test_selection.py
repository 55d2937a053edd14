"""What a page shows, from its address and back, and from clicks on figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from tests.sample_figures import HOSTILE, curve, grid
from workbench.dashboards.components.click_selection import (
    chosen_by,
    chosen_cells,
    linked_dims,
    outline_selection,
    point_of,
    selection_at,
)
from workbench.dashboards.components.selection import NAMED, Selection, selection_from_query
from workbench.dashboards.pages.compare import asked_runs
from workbench.figures import Axis, Figure, Heatmap, Panel, Scatter
from workbench.figures.plotly import plotly_dict
from workbench.probe.explore import SelectableDim

LAYER, HEAD = SelectableDim("layer", range(30), 17), SelectableDim("head", range(9), 3)
QUERY = SelectableDim("query", [40, 95], 95)
NEEDLE = SelectableDim("needle", [0, 1, 2], 0, ["city", HOSTILE, "name"])
ALL = [LAYER, HEAD, QUERY, NEEDLE]


@pytest.mark.parametrize(
    ("search", "chosen"),
    [
        ("", {}),
        ("?", {}),
        ("?layer=3&head=4", {"layer": 3, "head": 4}),
        ("layer=3", {"layer": 3}),
        ("?layer=3&layer=5", {"layer": 5}),
    ],
)
def test_an_address_chooses(search: str, chosen: dict[str, int]) -> None:
    assert selection_from_query(search, ALL) == (chosen, [])


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("?layer=30", "layer '30', which is not here; there is 0 to 29"),
        ("?layer=-1", "layer '-1'"),
        ("?layer=1e1", "layer '1e1'"),
        ("?layer=", "layer ''"),
        ("?layer=٣", "layer '٣'"),
        ("?query=41", "there is 40, 95"),
        ("?colour=1", "'colour', which this page does not know"),
        ("?layer=" + "9" * 10_000, "…"),
        ("?layer=%ff%fe", "layer"),
        ("?" + "&".join("layer=1" for _ in range(99)), "more than 50"),
    ],
)
def test_what_an_address_cannot_choose_is_said_and_left_out(search: str, said: str) -> None:
    chosen, complaints = selection_from_query(search, ALL)
    assert chosen == {}
    assert len(complaints) == 1
    assert said in complaints[0]
    assert len(complaints[0]) < 300


def test_a_good_part_of_an_address_counts_beside_a_bad_one() -> None:
    chosen, complaints = selection_from_query("?layer=3&head=99&x=1", ALL)
    assert chosen == {"layer": 3}
    assert len(complaints) == 2


def test_widgets_and_choices_follow_each_other() -> None:
    choice, told = Selection(ALL, {"layer": 3}), []
    choice.on_change(lambda: told.append(dict(choice.values)))
    assert choice.values == {"layer": 3, "head": 3, "query": 95, "needle": 0}
    choice.widgets["head"].value = 5
    choice.choose(layer=7, needle=2)
    assert [widget.value for widget in choice.widgets.values()] == [7, 5, 95, 2]
    assert told == [{**choice.values, "layer": 3, "needle": 0}, choice.values]


def said(choice: Selection, name: str) -> str:
    return re.sub("<[^>]*>", "", choice.names[name].object).strip()


def test_a_number_says_what_it_stands_for() -> None:
    names = [f"city {i}" for i in range(149)] + ["a\nvery " + "long " * 20]
    choice = Selection([LAYER, SelectableDim("example", range(150), 12, names)], {})
    example = choice.widgets["example"]
    assert (example.value, said(choice, "example")) == (12, "city 12")
    example.value = 13
    assert said(choice, "example") == "city 13"
    choice.choose(example=149)
    assert said(choice, "example").startswith("a⏎very long") and len(said(choice, "example")) <= NAMED
    example.value = None
    assert (example.value, choice.values["example"]) == (149, 149)
    assert choice.control("layer") is choice.widgets["layer"]
    assert [*choice.control("example")] == [example, choice.names["example"]]


def test_a_choice_that_is_not_there_changes_nothing() -> None:
    choice, told = Selection(ALL, {}), []
    choice.on_change(lambda: told.append(1))
    choice.choose(layer=99, nothing=1)
    choice.choose(layer=17)
    choice.widgets["layer"].value = None
    assert told == []
    assert choice.values["layer"] == choice.widgets["layer"].value == 17


def test_a_cell_of_a_grid_chooses_layer_and_head() -> None:
    figure = grid()
    drawn = plotly_dict(figure)
    assert linked_dims(figure, ALL) == ["layer", "head"]
    for trace in range(len(drawn["data"])):
        event = {"curveNumber": trace, "x": 4, "y": 21}
        assert chosen_by(figure, event, ALL, drawn) == {"layer": 21, "head": 4}
    assert chosen_by(figure, {"curveNumber": 0, "x": 4, "y": 21}, [QUERY], drawn) == {}


def test_the_panel_that_was_clicked_counts() -> None:
    panels = [
        Panel([Scatter([0], [0])], Axis("n"), Axis("share")),
        Panel([Scatter([50], [0.5])], Axis("where it asks", dim="query"), Axis("share")),
    ]
    figure = Figure("two", "", panels, "", "")
    drawn = plotly_dict(figure)
    trace = next(i for i, trace in enumerate(drawn["data"]) if trace["xaxis"] == "x2")
    assert chosen_by(figure, {"curveNumber": trace, "x": 50, "y": 0.5}, ALL, drawn) == {"query": 40}
    assert chosen_by(figure, {"curveNumber": 0, "x": 0, "y": 0}, ALL, drawn) == {}


def heads(*pairs: tuple[int, int]) -> dict[str, list[int]]:
    return {"layer": [layer for layer, _ in pairs], "head": [head for _, head in pairs]}


def test_a_point_that_stands_for_a_head_chooses_it_whatever_it_is_called() -> None:
    panel = Panel(
        [Scatter([1, 2], [0.5, 0.25], names=["first", "second"], dims=heads((17, 3), (4, 1))), Scatter([3], [0.5])],
        Axis("rank"),
        Axis("retrieval score"),
    )
    assert selection_at(panel, 2, 0.25, ALL) == {"layer": 4, "head": 1}
    assert selection_at(panel, 3, 0.5, ALL) == {}
    assert linked_dims(Figure("points", "", [panel], "", ""), ALL) == ["layer", "head"]
    assert linked_dims(curve(), ALL) == []


def test_the_words_of_a_figure_link_nothing() -> None:
    words = Panel([Scatter([1], [2], names=["17.3"])], Axis("head"), Axis("layer (of 30)"))
    figure = Figure("words", "", [words], "", "")
    assert linked_dims(figure, ALL) == [] and selection_at(words, 1, 2, ALL) == {}
    renamed = grid()
    panels = [replace(each, x=replace(each.x, label="Kopf"), y=replace(each.y, label="")) for each in renamed.panels]
    renamed = replace(renamed, panels=panels)
    assert linked_dims(renamed, ALL) == ["layer", "head"]
    assert chosen_cells(renamed, {"layer": 21, "head": 4}) == [(0, 4, 21)]


def test_a_figure_that_was_saved_before_its_axes_named_dimensions_is_linked_as_it_was() -> None:
    panel = Panel(
        [Scatter([1], [2], names=["17.3"]), Scatter([5, 7], [6, 8], names=["17.3", "a"])],
        Axis("query (tokens)"),
        Axis("y"),
    )
    written = json.loads(Figure("old", "", [panel], "", "").to_json())
    for part in written["panels"]:
        del part["x"]["dim"], part["y"]["dim"]
        for mark in part["marks"]:
            del mark["dims"]
    read = Figure.from_json(json.dumps(written))
    assert linked_dims(read, ALL) == ["layer", "head", "query"]
    assert selection_at(read.panels[0], 1, 2, ALL) == {"layer": 17, "head": 3, "query": 40}
    assert Figure.from_json(read.to_json()) == read


def test_of_heads_at_one_place_the_one_under_the_pointer_is_chosen() -> None:
    everyone = Scatter([0, 0, 0], [1, 1, 1], "all heads", dims=heads((0, 1), (4, 2), (7, 3)))
    panel = Panel([everyone, Scatter([0], [1], "head 7.3", dims=heads((7, 3)))], Axis("a"), Axis("b"))
    figure = Figure("points", "", [panel], "", "")
    drawn = plotly_dict(figure)
    for number, (layer, head) in enumerate([(0, 1), (4, 2), (7, 3)]):
        event = {"curveNumber": 0, "pointNumber": number, "x": 0, "y": 1}
        assert chosen_by(figure, event, ALL, drawn) == {"layer": layer, "head": head}
    for number in (99, HOSTILE, None, [0]):
        event = {"curveNumber": 0, "pointNumber": number, "x": 0, "y": 1}
        assert chosen_by(figure, event, ALL, drawn) == {"layer": 0, "head": 1}


def test_what_has_names_is_chosen_from_a_list_of_them() -> None:
    scores = SelectableDim("x_score", range(9), 3, [f"score {number}" for number in range(9)], figure="scatter")
    choice = Selection([scores, HEAD], {})
    assert choice.widgets["x_score"].options == {f"score {number}": number for number in range(9)}
    choice.widgets["x_score"].value = 5
    assert choice.values == {"x_score": 5, "head": 3}


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "x",
        {},
        {"curveNumber": 0},
        {"curveNumber": 0, "x": HOSTILE, "y": 1},
        {"curveNumber": 0, "x": float("nan"), "y": 0},
        {"curveNumber": 99, "x": 0, "y": 0},
        {"curveNumber": -1, "x": 0, "y": 0},
    ],
)
def test_a_click_that_says_nothing_chooses_nothing(event: object) -> None:
    figure = grid()
    assert chosen_by(figure, event, ALL, plotly_dict(figure)) == {}


def test_a_point_needs_numbers() -> None:
    assert point_of({"curveNumber": 0, "x": 1, "y": 2.5}) == {"curveNumber": 0, "x": 1, "y": 2.5}


def test_the_chosen_cell_has_a_border_on_the_grid_it_lies_in() -> None:
    figure = grid()
    drawn = plotly_dict(figure)
    before = len(drawn["layout"]["shapes"])
    outline_selection(figure, drawn, {"layer": 21, "head": 4})
    box = drawn["layout"]["shapes"][-1]
    assert len(drawn["layout"]["shapes"]) == before + 2
    assert [box[end] for end in ("x0", "x1", "y0", "y1")] == [3.5, 4.5, 20.5, 21.5]
    assert chosen_cells(figure, {"layer": 21}) == []
    mark = Heatmap([[0.0]], [0], [0], "")  # type: ignore[arg-type]
    other = Figure("other", "", [Panel([mark], Axis("n"), Axis("layer", dim="layer"))], "", "")
    assert chosen_cells(other, {"layer": 21, "head": 4}) == []


@pytest.mark.parametrize(
    ("search", "runs"),
    [
        ("", []),
        ("?runs=a,b", ["a", "b"]),
        ("?run=a&run=b&run=a", ["a", "b"]),
        ("?runs=,a,,%20b", ["a", "b"]),
        ("?other=a", []),
        ("?" + "run=a&" * 60, []),
    ],
)
def test_the_runs_that_an_address_names(search: str, runs: list[str]) -> None:
    assert asked_runs(search) == runs
