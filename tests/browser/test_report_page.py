"""A report as a person opens it: offline, light and dark, with and without scripts, on paper."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import Watched
from tests.sample_reports import failed_run, hostile_run, sample_run
from workbench.reports import write

pytestmark = pytest.mark.browser
Open = Callable[..., Watched]

CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const f = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  document.querySelectorAll("body *:not(script):not(style)").forEach((element) => {
    if (element.closest("svg") || !element.getClientRects().length) return;
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own) return;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
  });
  return poor;
}"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a report of one run, of several, and of one with hostile text."""
    folder = tmp_path_factory.mktemp("reports")
    runs = {
        "one": [sample_run(folder / "a")],
        "several": [sample_run(folder / "a"), sample_run(folder / "b", preset="full"), failed_run(folder / "c")],
        "hostile": [hostile_run(folder / "d"), sample_run(folder / "a")],
    }
    return {name: Path(write(those, folder / f"{name}.html")).as_uri() for name, those in runs.items()}


def draw_all(page: Any) -> None:
    """Scroll to every figure and wait until Plotly has drawn it."""
    for plot in page.locator("figure:has(.plot)").all():
        plot.evaluate("e => e.scrollIntoView({behavior: 'instant', block: 'center'})")
        plot.locator(".main-svg").first.wait_for(timeout=30_000)
    page.wait_for_function("() => [...document.querySelectorAll('figure:has(.plot)')].every(f => f.matches('.drawn'))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "several"])
def test_a_report_opens_offline_and_draws_its_figures(
    name: str, scheme: str, reports: dict[str, str], open_page: Open
) -> None:
    watched = open_page(reports[name], color_scheme=scheme, offline=True)
    page = watched.page
    draw_all(page)
    watched.is_quiet()
    assert page.locator("figure .static:visible").count() == 0
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    assert dark == (scheme == "dark")
    paper = page.locator(".plot .main-svg").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert paper == page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_nothing_is_wider_than_the_window(width: int, reports: dict[str, str], open_page: Open) -> None:
    page = open_page(reports["several"], viewport={"width": width, "height": 900}).page
    draw_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hovering_tells_layer_head_and_value(reports: dict[str, str], open_page: Open) -> None:
    page = open_page(reports["one"]).page
    draw_all(page)
    plot = page.locator(".plot").first
    plot.evaluate("e => e.scrollIntoView({behavior: 'instant', block: 'center'})")
    spot = plot.evaluate(
        """gd => { const l = gd._fullLayout, box = gd.getBoundingClientRect();
        return [box.x + l.xaxis._offset + l.xaxis.l2p(3), box.y + l.yaxis._offset + l.yaxis.l2p(17)]; }"""
    )
    page.mouse.move(spot[0] - 3, spot[1])
    page.mouse.move(*spot)
    plot.locator(".hoverlayer text").first.wait_for()
    assert plot.locator(".hoverlayer").text_content() == "layer 17, head 3: 0.53"


def test_without_scripts_everything_can_be_read(reports: dict[str, str], open_page: Open) -> None:
    watched = open_page(reports["one"], java_script_enabled=False, color_scheme="dark")
    page = watched.page
    assert page.locator("figure .static:visible svg").count() == 4
    assert page.locator("#theme:visible").count() == 0
    assert page.get_by_text("Three of 270 heads do most of the copying").is_visible()
    summary = page.locator("figure details summary").first
    summary.click()
    assert page.get_by_role("cell", name="retrieval score").first.is_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").first.click()
    assert download.value.suggested_filename == "grid.csv"
    assert Path(download.value.path()).read_text().startswith("series,y,x,value\nretrieval score,0,0,")
    assert watched.requests == []


def test_the_theme_is_changed_by_keyboard(reports: dict[str, str], open_page: Open) -> None:
    watched = open_page(reports["one"], color_scheme="light")
    page = watched.page
    draw_all(page)
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    page.keyboard.press("Tab")
    button = page.locator("#theme")
    assert button.evaluate("e => e === document.activeElement") and button.get_attribute("aria-pressed") == "false"
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true" and button.inner_text() == "Light"
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every(p => p._fullLayout.paper_bgcolor === '#15181c')"
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    watched.is_quiet()


@pytest.mark.parametrize("scripts", [True, False])
def test_on_paper_it_is_light_and_static(scripts: bool, reports: dict[str, str], open_page: Open) -> None:
    page = open_page(reports["one"], color_scheme="dark", java_script_enabled=scripts).page
    if scripts:
        draw_all(page)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator(".plot:visible").count() == 0
    assert page.locator("figure .static:visible svg").count() == 4
    assert page.locator("button:visible, nav:visible, details:visible").count() == 0
    if scripts:
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        ink = page.locator(".static svg text").first.evaluate("e => getComputedStyle(e).fill")
        assert ink == "rgb(0, 0, 0)"


@pytest.mark.parametrize("scripts", [True, False])
def test_hostile_text_runs_nowhere(scripts: bool, reports: dict[str, str], open_page: Open) -> None:
    watched = open_page(reports["hostile"], java_script_enabled=scripts)
    page = watched.page
    if scripts:
        draw_all(page)
        for summary in page.locator("summary").all():
            summary.click()
        for plot in page.locator(".plot").all():
            plot.hover()
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.querySelectorAll('.plot img, .plot script, .plot b').length") == 0
    watched.is_quiet()
    assert page.locator("img").count() == 0
    assert page.get_by_text("{{7*7}}").count() > 20


def test_headings_tables_and_figures_are_named(reports: dict[str, str], open_page: Open) -> None:
    page = open_page(reports["several"]).page
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent)")
    assert page.evaluate("[...document.querySelectorAll('th')].every(t => t.scope)")
    assert page.evaluate("[...document.querySelectorAll('[role=img]')].every(e => e.getAttribute('aria-label'))")
    assert page.evaluate("document.documentElement.lang") == "en"
