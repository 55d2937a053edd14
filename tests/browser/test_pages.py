"""The pages over saved runs, as a person meets them."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.sync_api import expect

from tests.chromium import shared_port
from tests.sample_figures import HOSTILE
from tests.sample_runs import write_run
from workbench.dashboards import serve
from workbench.dashboards.pages.probe import ProbePage
from workbench.errors import UsageError
from workbench.records import store

pytestmark = pytest.mark.browser


# Panel draws inside shadow roots, which a browser's own text of the body leaves out.
DEEP_TEXT = """() => {
  const all = (node) => node.nodeType === Node.TEXT_NODE ? node.textContent
    : ['STYLE', 'SCRIPT'].includes(node.nodeName) ? ''
    : [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes].map(all).join(' ');
  return all(document.body).replace(/\\s+/g, ' ');
}"""


def text_of(page: Any) -> str:
    """Everything a page says, in one line."""
    return page.evaluate(DEEP_TEXT)


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A folder of runs: one that went well, one that failed, one full of hostile text, and one that cannot be read."""
    runs = tmp_path_factory.mktemp("runs")
    made: dict[str, Any] = {"runs": runs}
    made["good"] = write_run(runs)
    made["failed"] = write_run(runs, "error")
    made["hostile"] = write_run(runs, model="hostile", words=HOSTILE)
    broken = runs / "20260101T000000Z-head-roles-00000000"
    broken.mkdir()
    (broken / store.RECORD).write_text("{ not json")
    return made


@pytest.fixture(scope="module")
def address(ids: dict[str, Any]) -> Iterator[str]:
    """A server over these runs."""
    port = shared_port()
    server = serve(ids["runs"], port=port, threaded=True)
    yield f"http://127.0.0.1:{port}"
    server.stop()


def test_home_lists_every_run_and_names_the_unreadable_one(visit: Callable[..., Any], ids: dict[str, Any]) -> None:
    watched = visit("/")
    body = text_of(watched.page)
    assert all(ids[name] in body for name in ("good", "failed", "hostile"))
    assert "Not readable" in body
    assert "20260101T000000Z-head-roles-00000000" in body
    assert "0.08 [0.02, 0.16]" in body
    assert "random heads 0.85 [0.8, 0.9]" in body
    watched.is_quiet()


def test_filter_narrows_the_list(visit: Callable[..., Any], ids: dict[str, Any]) -> None:
    page = visit("/").page
    page.get_by_label("Filter by probe, model, status or id").fill(ids["failed"][-8:])
    page.get_by_text("1 of 3 in").wait_for()
    body = text_of(page)
    assert ids["failed"] in body
    assert ids["good"] not in body
    page.get_by_label("Filter by probe, model, status or id").fill("nothing like it")
    page.get_by_text("No run matches").wait_for()


def test_a_run_is_one_click_away_and_shows_its_figures(visit: Callable[..., Any], ids: dict[str, Any]) -> None:
    watched = visit("/")
    page = watched.page
    page.locator("tr", has_text=ids["good"]).get_by_role("link", name="head-roles", exact=True).click()
    page.locator("h1", has_text="head-roles on smollm2").wait_for()
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    expect(page.get_by_role("figure")).to_have_count(3)
    body = text_of(page)
    for words in (
        "Three of 270 heads",
        "Needle recall top ablated",
        "splits share no needle",
        "The weights are 4-bit.",
    ):
        assert words in body
    page.get_by_text("As a table").first.click()
    page.get_by_role("cell", name="0.53").locator("visible=true").first.wait_for()
    watched.is_quiet()


def test_a_failed_run_says_why(visit: Callable[..., Any], ids: dict[str, Any]) -> None:
    body = text_of(visit(f"/run/{ids['failed']}").page)
    assert "WorkbenchError: no space left" in body


def test_hostile_text_is_shown_and_does_nothing(visit: Callable[..., Any], ids: dict[str, Any]) -> None:
    for path in ("/", f"/run/{ids['hostile']}"):
        watched = visit(path)
        watched.page.wait_for_timeout(1500)
        assert watched.page.evaluate("window.hit") is None
        assert "<img src=x onerror=" in text_of(watched.page)
        watched.is_quiet()


@pytest.mark.parametrize("asked", ["nope", "..%2f..%2fetc", "%3Cimg%20src=x%20onerror=alert(1)%3E"])
def test_an_unknown_run_is_said_to_be_unknown(visit: Callable[..., Any], asked: str) -> None:
    watched = visit(f"/run/{asked}")
    body = text_of(watched.page)
    assert "No such run" in body and f"There is no run {unquote(asked)} in" in body
    assert watched.page.evaluate("performance.getEntriesByType('navigation')[0].responseStatus") == 404
    assert watched.requests == []
    watched.page.get_by_role("link", name="Home").click()
    watched.page.locator("h1", has_text="Probes").wait_for()


def test_dark_mode_reaches_the_figures(visit: Callable[..., Any], ids: dict[str, Any]) -> None:
    page = visit(f"/run/{ids['good']}").page
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.get_by_label("Toggle theme").click()
    page.wait_for_function(
        "() => { const all = (root) =>"
        "   [...root.querySelectorAll('*')].flatMap(e => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);"
        " const plot = all(document).find(e => e.classList && e.classList.contains('js-plotly-plot'));"
        " return plot && getComputedStyle(plot.querySelector('.xtick text')).fill !== 'rgb(29, 35, 41)'; }"
    )


def test_an_empty_folder_says_how_to_make_a_run(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    port = shared_port(1)
    server = serve(tmp_path / "none", port=port, threaded=True)
    try:
        here = f"http://127.0.0.1:{port}"
        watched = open_page(here, allowed=(here, here.replace("http", "ws"), "blob:"))
        watched.page.get_by_text("workbench run head-roles").wait_for(timeout=60_000)
    finally:
        server.stop()


def test_nobody_else_can_reach_the_pages(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for host in own:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((host, port)) != 0
    assert urllib.request.urlopen(address, timeout=30).status == 200


@pytest.mark.parametrize("asked", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_open_address_is_refused(tmp_path: Path, asked: str) -> None:
    with pytest.raises(UsageError, match="other machines"):
        serve(tmp_path, address=asked)


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="--port"):
            serve(tmp_path, port=taken.getsockname()[1])


@pytest.mark.parametrize("system", ["light", "dark"])
def test_a_page_is_as_dark_as_the_system_until_the_visitor_chooses(visit: Callable[..., Any], system: str) -> None:
    other = {"light": "dark", "dark": "light"}[system]
    watched = visit("/", color_scheme=system)
    page = watched.page
    page.locator(f".mui-{system}").first.wait_for(state="attached")
    page.get_by_label("Toggle theme").click()
    page.locator(f".mui-{other}").first.wait_for(state="attached")
    page.wait_for_function(f"document.cookie.includes('theme={other}')")
    page.goto(page.url + "compare")
    page.locator("h1", has_text="Compare runs").wait_for()
    page.locator(f".mui-{other}").first.wait_for(state="attached")
    assert page.locator(f".mui-{system}").count() == 0
    page.get_by_label("Toggle theme").click()
    page.wait_for_function("!document.cookie.includes('theme=')")
    watched.is_quiet()


def test_a_bar_moves_while_the_server_is_busy_and_rests_otherwise(
    visit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit("/probe/attention-profile").page
    seed, moving = page.get_by_role("textbox", name="Seed"), page.locator(".MuiLinearProgress-indeterminate")
    seed.wait_for()
    page.wait_for_timeout(2_500)
    assert moving.count() == 0
    changed = ProbePage._changed
    monkeypatch.setattr(ProbePage, "_changed", lambda self: (time.sleep(3), changed(self)))
    seed.press("End")
    page.keyboard.press("5")
    expect(moving).to_be_visible()
    expect(moving).to_have_count(0)
