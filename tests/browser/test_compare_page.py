"""Runs side by side in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.test_pages import text_of
from tests.browser.test_run_page import drawn
from tests.chromium import shared_port
from tests.sample_figures import HOSTILE
from tests.sample_runs import write_run
from workbench.dashboards import serve

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(viewed: dict[str, Any]) -> Iterator[str]:
    """A server over the runs of organisms, a very long one, and a hostile one."""
    viewed["hostile"] = write_run(viewed["folder"], model="hostile", words=HOSTILE)
    viewed["bare"] = write_run(viewed["folder"])
    port = shared_port()
    server = serve(viewed["folder"], port=port, threaded=True)
    yield f"http://127.0.0.1:{port}"
    server.stop()


def test_runs_are_compared(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    ids = [viewed["profile"].id, viewed["long"].id]
    watched = visit(f"/compare?runs={','.join(ids)}")
    page = watched.page
    body = text_of(page)
    assert all(one in body for one in ids)
    assert "The same in all: settings, model, data, environment." in body
    value = viewed["profile"].headline["mean_entropy"].value
    assert f"{value:.3g}" in body
    plots = page.get_by_role("figure", name="Grids of layers and heads")
    assert plots.count() == 2
    drawn(page, "Grids of layers and heads")
    assert page.locator("svg .found").count() >= 2 * len(viewed["profile"].headline) - 2
    page.locator("summary", has_text="Differences").click()
    page.locator("summary", has_text="Choose runs").click()
    page.get_by_label(viewed["roles"].id).check()
    page.get_by_role("button", name="Compare").click()
    for said in ("These runs are of 2 probes", "Run 1 has no figure grid."):
        page.get_by_text(said).first.wait_for(timeout=60_000)
    watched.is_quiet()


def test_runs_that_cannot_be_compared_are_named(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    from urllib.parse import quote

    watched = visit(f"/compare?runs=nope,{quote(HOSTILE.replace(',', ''))},{viewed['roles'].id}")
    body = text_of(watched.page)
    assert "There is no readable run nope in this folder." in body
    assert "There is no readable run <img src=x onerror=" in body
    assert "One run alone cannot be compared" in body
    assert watched.page.evaluate("window.hit") is None
    watched.is_quiet()


def test_hostile_runs_are_compared_and_do_nothing(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    watched = visit(f"/compare?run={viewed['hostile']}&run={viewed['bare']}")
    page = watched.page
    drawn(page, "A grid of 30 layers by 9 heads")
    for summary in page.locator("summary").all():
        summary.click()
    assert "haystack" in text_of(page)
    assert page.evaluate("window.hit") is None
    watched.is_quiet()
