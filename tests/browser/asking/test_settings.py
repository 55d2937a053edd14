"""Every input of a page that asks: what it takes, what it says, and that nothing typed does harm or is lost."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import workbench as wb
from tests.browser.asking.hands import HOSTILE, Visit, done, fill, more, press, until
from tests.browser.test_pages import text_of
from tests.chromium import choose
from workbench.records import store

pytestmark = pytest.mark.browser


def test_an_empty_home_says_what_can_be_asked(visit: Visit, server: Any) -> None:
    watched = visit("/")
    body = text_of(watched.page)
    assert "How long does it take?" in body and "There is no run in" in body and "organism/head-roles" in body
    watched.page.get_by_role("link", name="attention-profile", exact=True).click()
    watched.page.get_by_role("button", name="Start").wait_for(timeout=60_000)
    body = text_of(watched.page)
    probe = wb.PROBES.get("attention-profile")
    method = f"{probe.method[:1].upper()}{probe.method[1:]}."
    assert probe.question in body and method in body
    assert all(paper.title in body for paper in probe.papers)
    watched.is_quiet()


def test_every_setting_has_its_input_and_says_what_is_wrong_with_it(visit: Visit) -> None:
    watched = visit("/probe/slow")
    page = watched.page
    fill(page, n=0)
    page.get_by_text("Must be greater than or equal to 1.").wait_for()
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    fill(page, n="many")
    page.get_by_text("Must be a valid integer.").wait_for()
    fill(page, n="", layers="1, x", Seed="-1")
    page.get_by_text("A value is needed.").wait_for()
    page.get_by_text("a whole number from 0 on").wait_for()
    fill(page, n=2, layers="0, 2", Seed="7")
    more(page)
    choose(page, "order", "down")
    page.get_by_role("checkbox", name="twice").check()
    page.get_by_text("Down and twice do not go together.").wait_for()
    page.get_by_role("checkbox", name="twice").uncheck()
    choose(page, "source", "second")
    fill(page, note="a note", pause="0.01", length=12)
    said = page.locator("pre", has_text="workbench run slow")
    page.locator("pre", has_text="note='a note'").wait_for()
    for words in ("--set n=2", "--set 'layers=[0, 2]'", "--seed 7", "--set order=down", "--set source=second"):
        assert words in said.inner_text()
    choose(page, "Preset", "full")
    expect(page.get_by_label("n", exact=True)).to_have_value("100")
    watched.is_quiet()


def test_what_is_typed_while_the_server_is_busy_stands(visit: Visit, server: Any) -> None:
    watched = visit("/probe/slow")
    page = watched.page
    typed = threading.Event()
    server.server.io_loop.add_callback(typed.wait, 20)
    fill(page, Seed="-1", n="many")
    fill(page, n="2", Seed="7")
    typed.set()
    page.locator("pre", has_text=re.compile("--seed 7 --set n=2")).wait_for()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("7")
    expect(page.get_by_label("n", exact=True)).to_have_value("2")
    watched.is_quiet()


def test_hostile_text_in_every_input_does_nothing(visit: Visit, server: Any, tmp_path: Path) -> None:
    watched = visit("/probe/slow")
    page = watched.page
    more(page)
    fill(page, Seed=HOSTILE, n=HOSTILE, length=HOSTILE, layers=HOSTILE, pause=HOSTILE, note=HOSTILE)
    page.get_by_text("Must be a valid number.").wait_for()
    fill(page, Seed=0, n=1, length=8, layers="", pause=0)
    choose(page, "data", "a text of my own")
    fill(page, **{"data: paste a text": HOSTILE})
    press(page, "Start")
    id = done(page)
    record = store.read(server.runs / id)
    assert record.spec.given["note"] == HOSTILE
    assert Path(record.spec.given["data"]).read_text() == HOSTILE
    fill(page, **{"data: paste a text": ""})
    name = "<img src=x onerror=window.hit=1>.txt"
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/plain", "buffer": b"my own text"})
    page.get_by_text(f"Uploaded {name}").first.wait_for()
    press(page, "Start")
    until(lambda: done(page) != id)
    given = store.read(server.runs / done(page)).spec.given["data"]
    assert Path(given).read_text() == "my own text" and Path(given).parent == server.runs.resolve() / ".texts"
    home = visit("/")
    home.page.get_by_label("Filter by probe, model, status or id").fill(HOSTILE)
    home.page.get_by_text("No run matches").wait_for()
    missing = visit("/probe/%3Cimg%20src=x%20onerror=window.hit=1%3E?from=%3Cimg%20src=x%3E&job=%3Cimg%3E")
    assert "No such probe" in text_of(missing.page)
    for one in (watched, home, missing):
        one.page.wait_for_timeout(300)
        assert one.page.evaluate("window.hit") is None
    for one in (watched, home):
        one.is_quiet()
    assert missing.requests == [] and all("404" in words for words in missing.complaints)


def test_texts_that_cannot_be_used_are_said(visit: Visit, server: Any) -> None:
    page = visit("/probe/slow").page
    choose(page, "data", "a text of my own")
    press(page, "Start")
    page.get_by_text("there is no text in it").wait_for()
    page.locator("input[type=file]").set_input_files(
        {"name": "x.txt", "mimeType": "text/plain", "buffer": b"\xff\xfe\x00binary"}
    )
    page.get_by_text("Uploaded x.txt").first.wait_for()
    press(page, "Start")
    page.get_by_text("this is not UTF-8 text").wait_for()
