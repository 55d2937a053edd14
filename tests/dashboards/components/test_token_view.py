"""A text of any length: what is sent of it, what shades it, and where one gets to."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

from tests.sample_figures import HOSTILE
from workbench.dashboards.components import token_view
from workbench.dashboards.components.selection import Selection
from workbench.dashboards.components.templates import render
from workbench.dashboards.components.token_view import (
    STEPS,
    WINDOW,
    Scale,
    TokenView,
    overview,
    readable,
    scale,
    token_window,
)
from workbench.figures import style
from workbench.probe.explore import LongText, Measure

LONG = 32_768


def long_text(length: int = LONG, origin: int | None = 20_000) -> LongText:
    rng = np.random.default_rng(0)
    words = [f" w{i % 50}" for i in range(length)]
    words[min(101, length - 1)] = HOSTILE
    values = rng.pareto(1.0, length).astype(np.float32)
    measures = [Measure("received", values, log=True), Measure("share", np.linspace(-1, 1, length))]
    looks = {origin: [(101, 0.5), (19_990, 0.2)]} if origin else {}
    return LongText("A text", "Its caption", words, measures, origin, looks)


def test_only_a_window_of_the_text_is_sent() -> None:
    shown = token_window(long_text(), long_text().measures[0], 19_500)
    assert len(shown["spans"]) == WINDOW
    made = render("tokens.html", **shown)
    assert made.count("<i class=") <= WINDOW + STEPS
    assert len(made) < 120_000


def test_the_last_window_ends_with_the_text() -> None:
    shown = token_window(long_text(), long_text().measures[0], LONG - 10)
    assert (shown["start"], shown["end"], len(shown["spans"])) == (LONG - 10, LONG, 10)


def test_every_token_is_escaped_and_readable() -> None:
    made = render("tokens.html", **token_window(long_text(), long_text().measures[0], 0))
    assert "<img" not in made and "<script" not in made and "<b>" not in made
    found = re.findall(r'<i class="[^"]*" title="token 101: [^"]*">([^<]*)</i>', made)
    assert [html.unescape(each) for each in found] == [readable(HOSTILE)]
    assert readable(" the") == " the" and readable(" ") == "␣" and readable("a\n") == "a⏎"


def test_keys_and_query_are_marked_where_they_are() -> None:
    text = long_text()
    spans = token_window(text, text.measures[0], 19_500)["spans"]
    marked = {place: name.split()[1:] for name, place, *_ in spans if len(name.split()) > 1}
    assert marked == {19_990: ["linked", "key"], 20_000: ["linked", "query"]}


@pytest.mark.parametrize("log", [True, False])
def test_shades_grow_with_the_value(log: bool) -> None:
    values = np.sort(np.random.default_rng(1).pareto(1.0, 500))
    found = scale(Measure("x", values, log))
    steps = [int(found.step(float(value))[1:]) for value in values]
    assert steps == sorted(steps)
    assert steps[-1] == STEPS - 1
    assert found.step(float("nan")) == "sx"


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0], [float("nan")] * 3, [0.0, 2.0, float("inf")], [-1.0, -2.0]])
@pytest.mark.parametrize("log", [True, False])
def test_a_scale_holds_for_any_numbers(values: list[float], log: bool) -> None:
    measure = Measure("x", np.asarray(values), log)
    found = scale(measure)
    assert found.low < found.high and np.isfinite([found.low, found.high]).all()
    assert all(found.step(value) == "sx" or 0 <= int(found.step(value)[1:]) < STEPS for value in values)
    overview(measure).plotly()


def test_a_scale_is_the_ratio_on_a_logarithm_and_the_difference_without() -> None:
    assert Scale(0.01, 1.0, True).share(np.asarray([0.1]))[0] == pytest.approx(0.5)
    assert Scale(-1.0, 3.0, False).share(np.asarray([1.0]))[0] == pytest.approx(0.5)


def test_words_on_every_shade_can_be_read() -> None:
    assert min(style.contrast(shade, style.text_on(shade)) for shade in [*token_view.SHADES, style.MISSING]) >= 4.5


def test_the_strip_shows_the_largest_of_each_bin() -> None:
    values = np.zeros(LONG)
    values[12_345] = 7.0
    mark = overview(Measure("x", values)).panels[0].marks[0]
    found = np.asarray(mark.values)[0]  # type: ignore[union-attr]
    assert len(found) == token_view.STRIP
    assert (found == 7.0).sum() == 1
    at = np.asarray(mark.x)[found.argmax()]  # type: ignore[union-attr]
    assert abs(at - 12_345) <= LONG / token_view.STRIP / 2


def test_one_gets_anywhere_by_buttons_clicks_and_numbers() -> None:
    text = long_text()
    choice = Selection(token_view.coordinates(text), {})
    shown = TokenView(text, choice, "")
    choice.on_change(lambda: shown.show(text))
    assert shown.start == 19_500
    shown.go(LONG + 5)
    assert shown.start == LONG - WINDOW
    shown.go(-7)
    assert shown.start == 0
    shown._clicked(shown.card.figure, {"curveNumber": 0, "x": 25_000.0, "y": 0.0}, None)
    assert shown.start == 25_000 - WINDOW // 2
    there = [button for button in shown.jumps.objects if button.visible]
    for button, start in zip(there, (19_500, 0, 19_490), strict=True):
        button.clicks += 1
        assert shown.start == start
    before = shown.tokens.spec
    choice.widgets["shade"].value = 1
    assert shown.tokens.spec != before
    assert "Share" in shown.card.figure.caption


def test_a_short_text_is_one_window() -> None:
    text = long_text(8, origin=None)
    shown = TokenView(text, Selection(token_view.coordinates(text), {}), "")
    shown.go(5)
    assert shown.start == 0
    assert "Tokens 0 to 7 of 8" in shown.tokens.spec
