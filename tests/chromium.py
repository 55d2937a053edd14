"""A real Chromium for the tests of pages and reports."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests; each test opens its own context."""
    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).exists():
        pytest.fail(f"no Chromium at {CHROMIUM}: install it, or name it in the environment variable CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


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


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Watched]]:
    """Opens an address in a context of its own: `open_page(address, **options of the context)`.

    Requests to `allowed` beginnings of addresses are not counted.
    """
    contexts = []

    def opened(address: str, allowed: tuple[str, ...] = (), **options: Any) -> Watched:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        watched = Watched(page)
        harmless = (address.split("#")[0], "data:", *allowed)
        page.on("request", lambda r: None if r.url.startswith(harmless) else watched.requests.append(r.url))
        page.on("console", lambda m: watched.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.goto(address, timeout=120_000)
        return watched

    yield opened
    for context in contexts:
        context.close()
