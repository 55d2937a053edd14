"""Tokens that show what they look at and what looks at them, by pointer and by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from workbench.dashboards.components.token_view import WINDOW

pytestmark = pytest.mark.browser


def marked(page: Any, name: str) -> dict[int, str]:
    """The tokens with a mark, by position, with what stands above each."""
    found = page.locator(".tokens").evaluate(
        "(box, name) => [...box.querySelectorAll(`i.${name}`)].map((i) => [i.title, i.dataset.share])", name
    )
    return {int(title.split()[1].strip(":")): said for title, said in found}


def token(page: Any, place: int) -> Any:
    """A token, once the page no longer moves."""
    found, spot, before = page.locator(f".tokens i[title^='token {place}:']"), {}, None
    while spot != before:
        before = spot
        found.scroll_into_view_if_needed(timeout=60_000)
        page.wait_for_timeout(500)
        spot = found.bounding_box()
    return found


def shares(links: dict[int, float], sign: str) -> dict[int, str]:
    return {place: f"{sign}{float(f'{100 * weight:.2g}'):g}%" for place, weight in links.items()}


def test_a_query_shows_its_keys_and_a_key_its_queries(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    run = viewed["profile"]
    watched = visit(f"/run/{run.id}?layer=1&head=2&query=40")
    page, looks = watched.page, run.details(layer=1, head=2, query=40).text.looks
    last = max(looks)
    keys = dict(looks[last])
    token(page, last).hover()
    line = page.locator(".links")
    expect(line).to_contain_text(f"Token {last} “")
    expect(line).to_contain_text(f"attends to {looks[last][0][0]} “")
    assert marked(page, "to") == shares(keys, "→")
    assert set(marked(page, "on")) == {last}
    key = looks[last][0][0]
    queries = {query: dict(links)[key] for query, links in looks.items() if key in dict(links)}
    token(page, key).hover()
    expect(line).to_contain_text("attended to by")
    assert len(queries) == 2
    assert marked(page, "by") == shares(queries, "←")
    linked = {*looks, *(place for links in looks.values() for place, _ in links)}
    plain = next(place for place in range(96) if place not in linked)
    token(page, plain).hover()
    expect(line).to_contain_text("Point at a token")
    assert not marked(page, "on") and not marked(page, "to") and not marked(page, "by")
    watched.is_quiet()


def test_links_are_shown_by_keyboard_and_hostile_words_stay_words(
    visit: Callable[..., Any], viewed: dict[str, Any]
) -> None:
    watched = visit(f"/run/{viewed['long'].id}?layer=1&head=2&query=8191&from=0")
    page, looks = watched.page, viewed["long"].details(layer=1, head=2, query=8191).text.looks
    token(page, 0).wait_for(timeout=60_000)
    region, line = page.locator(".tokens"), page.locator(".links")
    assert line.get_attribute("aria-live") == "polite"
    linked = sorted({key for links in looks.values() for key, _ in links if key < WINDOW})
    region.focus()
    for _ in range(linked.index(102) + 1):
        page.keyboard.press("ArrowRight")
    expect(line).to_contain_text("Token 102 “")
    expect(line).to_contain_text("is attended to by")
    for query, links in looks.items():
        expect(line).to_contain_text(f"{query} “")
        expect(line).to_contain_text(f"{shares(dict(links), '')[102]} (below)")
    assert set(marked(page, "on")) == {102}
    page.keyboard.press("ArrowLeft")
    if linked.index(102):
        expect(line).to_contain_text(f"Token {linked[linked.index(102) - 1]} “")
    page.keyboard.press("Escape")
    expect(line).to_contain_text("Point at a token")
    token(page, 102).click()
    token(page, 500 if 500 not in linked else 501).hover()
    page.mouse.move(5, 5)
    expect(line).to_contain_text("Token 102 “")
    assert page.evaluate("window.hit") is None
    watched.is_quiet()
