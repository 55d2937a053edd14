"""A scatter of two scores of heads: names, marks and what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.figures import Figure
from workbench.probe.explore import complete
from workbench.probe.head_scatter import Scores, coordinates, scatter

A = np.array([[0.0, 0.25], [0.5, np.nan]])
B = np.array([[4.0, 3.0], [2.0, 1.0]])


@pytest.fixture
def scores() -> Scores:
    return Scores([3, 7], [0, 5], {"a": A, "b (nats)": B})


def drawn(scores: Scores, **chosen: int | str) -> Figure:
    return scatter(scores, {"layer": 7, "head": 0, **complete(coordinates(scores, "a", "b (nats)"), chosen)})


def test_every_head_is_a_point_of_its_name(scores: Scores) -> None:
    figure = drawn(scores)
    everyone, own = figure.panels[0].marks
    assert [*zip(everyone.names, everyone.x, everyone.y, strict=True)] == [
        ("3.0", 0.0, 4.0),
        ("3.5", 0.25, 3.0),
        ("7.0", 0.5, 2.0),
    ]
    assert (own.label, list(own.x), list(own.y)) == ("head 7.0", [0.5], [2.0])
    assert "1 of 4 heads have no such value." in figure.caption
    assert figure.panels[0].y.label == "b (nats)" and "b over a" in figure.title


def test_either_axis_is_chosen(scores: Scores) -> None:
    turned = drawn(scores, x_score="b (nats)", y_score="a")
    assert list(turned.panels[0].marks[0].x) == [4.0, 3.0, 2.0]
    both = drawn(scores, x_score=1)
    assert both.panels[0].marks[0].x == both.panels[0].marks[0].y == [4.0, 3.0, 2.0, 1.0]
    assert "no such value" not in both.caption


def test_a_chosen_head_without_a_value_is_said_and_not_marked(scores: Scores) -> None:
    figure = scatter(scores, {"layer": 7, "head": 5, "x_score": 0, "y_score": 1})
    assert len(figure.panels[0].marks) == 1
    assert "head 7.5 is none of them" in figure.caption and "marked" not in figure.caption + figure.alt
    nobody = Scores([0], [0], {"a": np.array([[np.nan]])})
    empty = scatter(nobody, {"layer": 0, "head": 0, "x_score": 0, "y_score": 0})
    assert empty.plotly() is not None and empty.matplotlib() is not None


def test_what_is_drawn_lives_on_as_json_and_in_both_libraries(scores: Scores) -> None:
    figure = drawn(scores)
    assert Figure.from_json(figure.to_json()).to_json() == figure.to_json()
    named = [pair[0] for trace in figure.plotly().data for pair in trace.customdata]
    assert [name.split("<br>")[0] for name in named] == ["<b>3.0</b>", "<b>3.5</b>", "<b>7.0</b>", "<b>7.0</b>"]
    figure.matplotlib()
