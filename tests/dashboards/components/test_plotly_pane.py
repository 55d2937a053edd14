"""What a drawing tells the browser, and what it hears from it."""

from __future__ import annotations

import json

from tests.sample_figures import curve, grid
from workbench.dashboards.components.plotly_pane import TEMPLATES, PlotlyPane
from workbench.figures.plotly import plotly_dict


def test_it_says_what_is_drawn() -> None:
    drawing = PlotlyPane(plotly_dict(grid()), grid().alt)
    drawing.draw(plotly_dict(curve()), curve().alt)
    said = json.loads(drawing.spec)
    assert said["alt"] == curve().alt and said["data"] == json.loads(curve().plotly().to_json())["data"]
    assert "template" not in said["layout"], "the page chooses it"


def test_a_click_is_told_and_a_drawing_without_a_listener_is_silent() -> None:
    told = []
    PlotlyPane(plotly_dict(grid()), "", told.append)._handle_msg({"x": 1})
    PlotlyPane(plotly_dict(grid()), "")._handle_msg({"x": 1})
    assert told == [{"x": 1}]


def test_both_themes_leave_the_background_to_the_page() -> None:
    assert {theme["layout"]["paper_bgcolor"] for theme in TEMPLATES.values()} == {"rgba(0, 0, 0, 0)"}
    assert TEMPLATES["light"]["layout"]["font"]["color"] != TEMPLATES["dark"]["layout"]["font"]["color"]
