"""Notes on the page of a run: read, added by mouse and keyboard, and in what is taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.chromium import shared_port
from tests.sample_figures import HOSTILE
from tests.sample_runs import write_run
from workbench.dashboards import serve
from workbench.records import notes

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose model is nowhere."""
    return tmp_path / write_run(tmp_path, model="no/such-model")


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    port = shared_port()
    server = serve(folder.parent, port=port, threaded=True)
    yield f"http://127.0.0.1:{port}"
    server.stop()


def write(page: Any, text: str) -> None:
    page.get_by_role("textbox", name="Note").fill(text)
    page.get_by_role("button", name="Add note").click()


def texts(page: Any) -> Any:
    return page.locator("ol.notes p.note")


def test_a_note_is_added_and_in_the_report_that_is_saved(folder: Path, visit: Callable[..., Any]) -> None:
    notes.write(folder, "from the command line")
    watched = visit(f"/run/{folder.name}")
    page = watched.page
    expect(texts(page)).to_have_text(["from the command line"])
    page.get_by_role("textbox", name="Note").focus()
    page.keyboard.type(f"Zanzibar4711 {HOSTILE}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Add note")).to_be_focused()
    page.keyboard.press("Enter")
    expect(texts(page)).to_have_count(2)
    expect(texts(page).nth(1)).to_contain_text("<img src=x onerror=")
    expect(page.get_by_role("textbox", name="Note")).to_have_value("")
    added = notes.each(folder)[1]
    assert added.text.startswith("Zanzibar4711 ")
    expect(page.locator("ol.notes time").nth(1)).to_have_attribute("datetime", added.time)
    with page.expect_download(timeout=120_000) as taken:
        page.get_by_text("Report of this view (HTML)").click()
    report = Path(taken.value.path()).read_text()
    assert "Zanzibar4711" in report and "from the command line" in report and "<img src=x" not in report
    assert page.evaluate("window.hit") is None
    watched.is_quiet()


def test_two_visitors_lose_nothing(folder: Path, visit: Callable[..., Any]) -> None:
    one, other = (visit(f"/run/{folder.name}").page for _ in range(2))
    for page, text in ((one, "of the one"), (other, "of the other")):
        page.get_by_role("textbox", name="Note").fill(text)
    for page in (one, other):
        page.get_by_role("button", name="Add note").click()
    for page in (one, other):
        expect(texts(page).first).to_be_visible()
    write(one, "once more")
    expect(texts(one)).to_have_count(3)
    assert sorted(texts(one).all_text_contents()) == ["of the one", "of the other", "once more"]


def test_what_is_too_long_or_empty_is_said_and_stays(folder: Path, visit: Callable[..., Any]) -> None:
    page = visit(f"/run/{folder.name}").page
    write(page, "x" * (notes.LONGEST_NOTE + 1))
    expect(page.get_by_role("alert")).to_have_text(
        "A note of 10,001 characters is longer than the 10,000 that one may have."
    )
    expect(page.get_by_role("textbox", name="Note")).to_have_value("x" * (notes.LONGEST_NOTE + 1))
    write(page, " ")
    expect(page.get_by_role("alert")).to_have_text("A note needs some text.")
    assert notes.read(folder) == ""
    write(page, "short")
    expect(texts(page)).to_have_text(["short"])
    expect(page.get_by_role("alert")).to_have_count(0)


def test_read_only_pages_show_notes_and_take_none(folder: Path, open_page: Callable[..., Any]) -> None:
    notes.add(folder, "seen")
    port = shared_port(1)
    server = serve(folder.parent, port=port, threaded=True, read_only=True)
    try:
        page = open_page(f"http://127.0.0.1:{port}/run/{folder.name}").page
        expect(texts(page)).to_have_text(["seen"])
        page.get_by_text("Report of this view (HTML)").wait_for()
        expect(page.get_by_role("textbox", name="Note")).to_have_count(0)
        expect(page.get_by_role("button", name="Add note")).to_have_count(0)
    finally:
        server.stop()
