"""Looking closer at a saved run, as a person with a mouse, a keyboard or a link does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.test_pages import text_of
from tests.sample_figures import HOSTILE
from workbench.dashboards.components.token_view import WINDOW
from workbench.figures.table import csv

pytestmark = pytest.mark.browser

NODES = """() => {
  const count = (node) => 1 + [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes]
    .reduce((sum, child) => sum + count(child), 0);
  return count(document.body);
}"""
MOST_NODES = 20_000
"""Nodes of a page over a text of 32,768 tokens; one node a token and its letters alone would be three times as many."""


def drawn(page: Any, words: str) -> Any:
    """The drawing whose description holds these words, when it is there."""
    plot = page.get_by_role("figure", name=words).first
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for(timeout=60_000)
    return plot


def click_at(page: Any, plot: Any, x: float, y: float) -> None:
    """Click on a place of the first panel, given in the numbers of its axes, once the page no longer moves."""
    spot, before = None, []
    while spot != before:
        before = spot
        page.wait_for_timeout(300)
        spot = plot.evaluate(
            """(gd, [x, y]) => { const l = gd._fullLayout, box = gd.getBoundingClientRect();
            return [box.x + l.xaxis._offset + l.xaxis.l2p(x), box.y + l.yaxis._offset + l.yaxis.l2p(y)]; }""",
            [x, y],
        )
    page.mouse.move(spot[0] - 2, spot[1])
    page.mouse.move(*spot)
    page.mouse.click(*spot)


def pick_next(page: Any, label: str) -> None:
    """Choose the second of a row of buttons by keyboard."""
    page.get_by_role("radio", name=label).focus()
    page.keyboard.press("ArrowRight")


def heading(page: Any, words: str) -> None:
    page.get_by_role("heading", name=words).first.wait_for(timeout=60_000)


def test_from_the_overview_to_a_head_to_a_needle(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    watched = visit(f"/run/{viewed['roles'].id}")
    page = watched.page
    click_at(page, drawn(page, "Grid of layers and heads coloured by retrieval score;"), 3, 1)
    heading(page, "Head 1.3 among all heads")
    page.wait_for_url("**/run/*?layer=1&head=3&needle=0&x_score=3&y_score=0")
    expect(page.get_by_role("textbox", name="Layer")).to_have_value("1")
    expect(page.get_by_role("textbox", name="Head")).to_have_value("3")
    score = float(viewed["roles"].data["heads"]["copy_score"].sel(layer=1, head=3))
    page.get_by_text(f"Head 1.3 has the retrieval score {score:.2f}").wait_for()
    held_out = viewed["roles"].data["held_out"].to_dataset()
    mode, rule = viewed["roles"].data.attrs["mode"], viewed["roles"].data.attrs["rule"]
    copy = float(held_out["copy"].sel(mode=mode, rule=rule, layer=1, head=3, example=1))
    click_at(page, drawn(page, "Retrieval score of head 1.3 on each held-out needle"), 1, copy)
    heading(page, "Needle 1, ")
    page.wait_for_url("**/run/*?layer=1&head=3&needle=1&x_score=3&y_score=0")
    click_at(page, drawn(page, "Grid of layers and heads coloured by the retrieval score on needle 1"), 1, 2)
    heading(page, "Head 2.1 among all heads")
    watched.is_quiet()


def test_the_same_by_keyboard(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    watched = visit(f"/run/{viewed['roles'].id}?layer=1&head=0")
    page = watched.page
    heading(page, "Head 1.0 among all heads")
    layer = page.get_by_role("textbox", name="Layer")
    layer.focus()
    page.keyboard.press("ArrowUp")
    heading(page, "Head 2.0 among all heads")
    page.get_by_role("textbox", name="Head").focus()
    page.keyboard.press("ArrowUp")
    heading(page, "Head 2.1 among all heads")
    names = next(each.labels for each in viewed["roles"].coordinates if each.name == "needle")
    pick_next(page, names[0])
    heading(page, "Needle 1, ")
    page.wait_for_url("**/run/*?layer=2&head=1&needle=1&x_score=3&y_score=0")
    summary = page.locator("summary", has_text="As a table").nth(1)
    summary.focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("cell", name="all heads").first.is_visible()
    watched.is_quiet()


def test_a_step_stays_when_the_reader_goes_on_while_the_page_is_busy(
    visit: Callable[..., Any], viewed: dict[str, Any]
) -> None:
    watched = visit(f"/run/{viewed['roles'].id}?layer=1&head=0")
    page = watched.page
    heading(page, "Head 1.0 among all heads")
    head = page.get_by_role("textbox", name="Head").element_handle()
    page.get_by_role("textbox", name="Layer").focus()
    page.get_by_role("textbox", name="Layer").evaluate(
        """(layer, head) => {
        layer.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp", bubbles: true, composed: true }));
        head.focus(); }""",
        head,
    )
    page.keyboard.press("ArrowUp")
    heading(page, "Head 2.1 among all heads")
    page.wait_for_url("**/run/*?layer=2&head=1&needle=0&x_score=3&y_score=0")
    expect(page.get_by_role("textbox", name="Layer")).to_have_value("2")
    watched.is_quiet()


def test_the_back_button_shows_the_earlier_view(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    watched = visit(f"/run/{viewed['roles'].id}")
    page = watched.page
    first = {each.name: each.first for each in viewed["roles"].coordinates}
    heading(page, f"Head {first['layer']}.{first['head']} among all heads")
    start = page.url
    click_at(page, drawn(page, "Grid of layers and heads coloured by retrieval score;"), 3, 1)
    heading(page, "Head 1.3 among all heads")
    page.wait_for_url("**/run/*?layer=1&head=3&needle=0&x_score=3&y_score=0")
    page.get_by_role("textbox", name="Head").focus()
    page.keyboard.press("ArrowDown")
    heading(page, "Head 1.2 among all heads")
    page.wait_for_url("**/run/*?layer=1&head=2&needle=0&x_score=3&y_score=0")
    page.go_back()
    heading(page, "Head 1.3 among all heads")
    expect(page.get_by_role("textbox", name="Head")).to_have_value("3")
    assert page.url.endswith("?layer=1&head=3&needle=0&x_score=3&y_score=0")
    page.go_back()
    heading(page, f"Head {first['layer']}.{first['head']} among all heads")
    assert page.url == start
    page.go_forward()
    heading(page, "Head 1.3 among all heads")
    page.go_forward()
    heading(page, "Head 1.2 among all heads")
    page.go_back()
    heading(page, "Head 1.3 among all heads")
    click_at(page, drawn(page, "Grid of layers and heads coloured by retrieval score;"), 2, 1)
    heading(page, "Head 1.2 among all heads")
    page.wait_for_url("**/run/*?layer=1&head=2&needle=0&x_score=3&y_score=0")
    page.go_back()
    heading(page, "Head 1.3 among all heads")
    watched.is_quiet()


def test_from_the_sweep_of_a_knob_to_an_item(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    watched = visit(f"/run/{viewed['knob'].id}")
    page, run = watched.page, viewed["knob"]
    heading(page, "Block 1: the direction learnt there steers 100% of the pairs")
    swept = run.data["sweep"].to_dataset()["right"].sel(layer=2).values
    best = float((swept[:, 0] & swept[:, 1]).mean(-1).max())
    click_at(page, drawn(page, "Steering pair accuracy over the block"), 2, best)
    heading(page, f"Block 2: the direction learnt there steers {best:.0%}")
    page.wait_for_url("**/run/*?block=2&condition=2&example=0")
    shown = run.details(block=2, example=1)
    pick_next(page, run.coordinates[-1].labels[0])
    heading(page, shown.tables[0].title)
    table = page.get_by_role("region", name=shown.tables[1].title)
    for row in shown.tables[1].rows:
        cells = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name=row[0], exact=True))
        expect(cells.get_by_role("cell")).to_have_text(list(row[1:]))
    value = run.data["scored/plain"].to_dataset()["value"].values[0, 3]
    click_at(page, drawn(page, "Value along the direction of each held-out item"), 3, float(value))
    heading(page, run.details(example=3).tables[0].title)
    page.go_back()
    heading(page, shown.tables[0].title)
    watched.is_quiet()


def test_a_link_opens_the_same_view(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    watched = visit(f"/run/{viewed['profile'].id}?layer=2&head=3&query=40&text=1&from=0&shade=1")
    page = watched.page
    heading(page, "Head 2.3 along the text")
    body = text_of(page)
    shown = viewed["profile"].details(layer=2, head=3, query=40, text=1)
    assert shown.note in body
    assert shown["keys"].title in body
    assert shown.text is not None and shown.text.measures[1].label in body
    assert "Of this text the run kept the tokens' numbers alone." in body
    watched.is_quiet()


def test_what_a_link_cannot_show_is_said(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    from urllib.parse import quote

    watched = visit(f"/run/{viewed['roles'].id}?layer=99&head=1&needle={quote(HOSTILE)}&{quote(HOSTILE)}=1")
    page = watched.page
    body = text_of(page)
    assert "The address asks for layer '99', which is not here; there is 0 to 3." in body
    assert "<img src=x onerror=" in body
    best = next(each.first for each in viewed["roles"].coordinates if each.name == "layer")
    heading(page, f"Head {best}.1 among all heads")
    assert page.evaluate("window.hit") is None
    watched.is_quiet()


def test_a_view_is_taken_away(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    watched = visit(f"/run/{viewed['roles'].id}?layer=2&head=0&needle=0")
    page, run = watched.page, viewed["roles"]
    heading(page, "Head 2.0 among all heads")
    page.get_by_role("textbox", name="Head").focus()
    page.keyboard.press("ArrowUp")
    heading(page, "Head 2.1 among all heads")
    figure = run.details(layer=2, head=1, needle=0)["head"]
    with page.expect_download(timeout=60_000) as taken:
        page.get_by_text("Download CSV").nth(1).click()
    assert taken.value.suggested_filename == "head.csv"
    assert Path(taken.value.path()).read_text() == csv(figure.data)
    page.locator("summary", has_text="In Python").nth(1).click()
    lines = page.locator("details[open] pre").first.text_content()
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["figure"].to_json() == figure.to_json()
    with page.expect_download(timeout=120_000) as taken:
        page.get_by_text("Report of this view (HTML)").click()
    report = Path(taken.value.path()).read_text()
    assert taken.value.suggested_filename == f"{run.id}.html"
    assert "Head 2.1 among all heads" in report and run.summary[0][:40] in report
    watched.is_quiet()


def test_a_text_of_32768_tokens_is_walked_through(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    watched = visit(f"/run/{viewed['long'].id}?layer=1&head=2&query=8191")
    page, shown = watched.page, viewed["long"].details(layer=1, head=2, query=8191).text

    def first(place: int) -> None:
        page.locator(f".tokens i[title^='token {place}:']").wait_for(timeout=60_000)
        assert page.locator(".tokens i").count() == WINDOW

    first(8191 - WINDOW // 2)
    strip = drawn(page, "One row of 256 bins along the text")
    nodes = page.evaluate(NODES)
    assert nodes < MOST_NODES, nodes
    click_at(page, strip, 20_000, 0)
    page.wait_for_url(lambda url: "from=19" in url)
    start = int(page.url.split("from=")[1].split("&")[0])
    assert abs(start + WINDOW // 2 - 20_000) <= 128
    first(start)
    page.get_by_role("button", name="Later").click()
    first(start + WINDOW)
    page.get_by_role("button", name="Earlier").click()
    first(start)
    page.get_by_role("textbox", name="From").focus()
    page.keyboard.press("ArrowUp")
    first(start + 1)
    page.get_by_role("button", name="Key 102 ").first.click()
    first(0)
    token = page.locator(".tokens i[title^='token 102:']")
    assert "key" in token.get_attribute("class")
    assert token.text_content() == HOSTILE.replace("\n", "⏎")
    page.get_by_role("button", name="Query 8,191").click()
    first(8191 - WINDOW // 2)
    assert "query" in page.locator(".tokens i[title^='token 8191:']").get_attribute("class")
    pick_next(page, "received, mean of all heads")
    page.get_by_text(f"Shade: {shown.measures[1].label}").wait_for(timeout=60_000)
    page.locator("summary", has_text="tokens of this window with the most").click()
    assert page.get_by_role("region", name="Tokens with the most").get_by_role("row").count() == 21
    assert page.evaluate(NODES) < MOST_NODES
    assert page.evaluate("window.hit") is None
    watched.is_quiet()


def test_the_theme_stays_after_a_choice(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    page = visit(f"/run/{viewed['roles'].id}").page
    plot = drawn(page, "Grid of layers and heads coloured by retrieval score;")
    assert plot.get_attribute("data-theme") == "light"
    page.get_by_label("Toggle theme").click()
    page.locator(".plot[data-theme=dark]").first.wait_for(timeout=60_000)
    click_at(page, drawn(page, "Grid of layers and heads coloured by retrieval score;"), 0, 0)
    heading(page, "Head 0.0 among all heads")
    assert drawn(page, "Distributions of eight or more scores").get_attribute("data-theme") == "dark"


@pytest.mark.parametrize("width", [1280, 800])
@pytest.mark.parametrize("name", ["roles", "long"])
def test_nothing_is_wider_than_the_window(
    name: str, width: int, visit: Callable[..., Any], viewed: dict[str, Any]
) -> None:
    page = visit(f"/run/{viewed[name].id}", viewport={"width": width, "height": 900}).page
    plot = page.get_by_role("figure").first
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for(timeout=60_000)
    box = plot.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
