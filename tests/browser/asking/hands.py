"""What a person does on the page of a probe."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from tests.dashboards import slow_probe

MODEL = "organism/attention-profile"

HOSTILE = slow_probe.HOSTILE

Visit = Callable[..., Any]


def fill(page: Any, **values: object) -> None:
    for name, value in values.items():
        page.get_by_label(name, exact=True).fill(str(value))


def more(page: Any) -> None:
    page.get_by_role("button", name="More settings").click()
    page.get_by_label("pause", exact=True).wait_for()


def press(page: Any, name: str) -> None:
    page.locator("button:enabled", has_text=re.compile(f"^{name}$")).click()


def done(page: Any) -> str:
    """Wait for the end of a run; its id."""
    link = page.get_by_role("link", name="The whole run")
    link.wait_for(timeout=60_000)
    return link.get_attribute("href").removeprefix("/run/")


def until(true: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
