"""A real Chromium for the tests of pages and reports."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium-headless-shell") or "/usr/bin/chromium"
"""The one without windows, where it is installed, draws the same pages with two thirds of the work."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def choose(page: Any, label: str, option: str) -> None:
    """Choose from a list of a page."""
    page.get_by_role("combobox", name=label, exact=True).click()
    page.locator("li", has_text=re.compile(f"^{re.escape(option)}$")).click()
    page.locator("[role=listbox]").wait_for(state="detached")


@cache
def shared_port(beside: int = 0) -> int:
    """The port of one server after another: a browser keeps by address what it has fetched and compiled.

    A server that runs `beside` another one has its own.
    """
    return free_port()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """What drives the browsers."""
    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).exists():
        pytest.fail(f"no Chromium at {CHROMIUM}: install it, or name it in the environment variable CHROMIUM")
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def chromium(playwright: Any) -> Iterator[Any]:
    """A browser in which each context is empty at first: for pages that need a context of their own."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def profile(playwright: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The context of one visitor who comes again and again: nothing is fetched or compiled twice."""
    folder = tmp_path_factory.mktemp("profile")
    context = playwright.chromium.launch_persistent_context(folder, executable_path=CHROMIUM, args=FLAGS)
    yield context
    context.close()


@dataclass
class Watched:
    """A page, and everything it did that a report or a page of ours must not do."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def is_quiet(self) -> None:
        """Assert that nothing was fetched and nothing was complained about."""
        assert self.requests == []
        assert self.complaints == []


FORGET = "localStorage.clear(); sessionStorage.clear()"


@pytest.fixture
def open_page(request: pytest.FixtureRequest) -> Iterator[Callable[..., Watched]]:
    """Opens an address: `open_page(address, viewport=, color_scheme=, **options of a context of its own)`.

    Pages share one profile, which forgets after each test what they stored, unless an option needs another context.
    Requests to `allowed` beginnings of addresses are not counted.
    """
    contexts, pages = [], []

    def opened(
        address: str, allowed: tuple[str, ...] = (), viewport: Any = None, color_scheme: Any = None, **options: Any
    ) -> Watched:
        if options:
            context = request.getfixturevalue("chromium").new_context(**options)
            contexts.append(context)
        else:
            context = request.getfixturevalue("profile")
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size(viewport or {"width": 1280, "height": 720})
        page.emulate_media(color_scheme=color_scheme or "light")
        watched = Watched(page)
        harmless = (address.split("#")[0], "data:", *allowed)
        page.on("request", lambda r: None if r.url.startswith(harmless) else watched.requests.append(r.url))
        page.on("console", lambda m: watched.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.goto(address, timeout=120_000)
        return watched

    yield opened
    for page in pages:
        page.context.clear_cookies()
        if not page.is_closed():
            if page.url.startswith("http"):
                page.evaluate(FORGET)
            page.close()
    for context in contexts:
        context.close()
