"""The knob turned on a page, as a person does: slider, buttons, keyboard, the curve, and several visitors at once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import panel as pn
import pytest
from playwright.sync_api import expect

import workbench as wb
from tests.browser.asking.hands import until
from tests.browser.test_accessibility import violations
from tests.browser.test_pages import text_of
from tests.browser.test_run_page import click_at, drawn
from tests.chromium import shared_port
from tests.sample_figures import HOSTILE
from workbench.dashboards import serve
from workbench.dashboards.server.live_requests import LivePrompt
from workbench.probes.context_knob.knob.for_session import knob_for_session
from workbench.probes.context_knob.live_view import written

pytestmark = pytest.mark.browser
WAIT = 60_000


@pytest.fixture(scope="module")
def server(viewed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server over one run, which learnt a knob for the organism; `address` says where it is."""
    runs, port = tmp_path_factory.mktemp("live"), shared_port()
    shutil.copytree(viewed["knob"].folder, runs / viewed["knob"].id)
    served = serve(runs, port=port, threaded=True)
    served.address = f"http://127.0.0.1:{port}"
    yield served
    served.stop()


@pytest.fixture
def address(server: Any) -> str:
    return server.address


@pytest.fixture
def live(visit: Callable[..., Any], viewed: dict[str, Any]) -> Callable[..., Any]:
    """Opens the live view of the run's knob, and asks about a city if one is given."""

    def opened(city: str = "", **options: Any) -> Any:
        watched = visit(f"/live/context-knob?run={viewed['knob'].id}", **options)
        page = watched.page
        page.set_default_timeout(WAIT)
        expect(page.get_by_role("combobox", name="Model")).to_have_text("organism/context-knob", timeout=WAIT)
        if city:
            fill(page, Context=f"The capital of France is {city}.")
            press(page, "Ask")
            says(page, "^Without the knob$", city)
        return watched

    return opened


def fill(page: Any, **texts: str) -> None:
    for label, text in texts.items():
        page.get_by_role("textbox", name=label).fill(text)


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=re.compile(f"^{re.escape(name)}")).click()


def says(page: Any, heading: str, answer: str) -> None:
    """The answer beside the slider, below its heading."""
    box = page.locator(".answer").filter(has=page.locator(".over", has_text=re.compile(heading)))
    expect(box.locator(".said")).to_have_text(answer, timeout=WAIT)


def turning_of(server: Any, viewed: dict[str, Any]) -> Any:
    """What the server keeps of the first prompt."""
    texts = (("context", "The capital of France is Oslo."), ("query", "The capital of France is"))
    return server.jobs.turnings.get(LivePrompt("context-knob", "organism/context-knob", None, viewed["knob"].id, texts))


def test_slider_buttons_keyboard_and_curve_give_what_the_knob_gives(
    live: Callable[..., Any], viewed: dict[str, Any], server: Any, recwarn: pytest.WarningsRecorder
) -> None:
    watched = live("Oslo")
    page = watched.page
    session = wb.load("organism/context-knob")
    knob, prompt = (
        knob_for_session(session, viewed["knob"]),
        written(session, "The capital of France is Oslo.", "The capital of France is"),
    )

    def alone(value: float) -> str:
        made = knob.apply(session, value).generate(prompt, 8)
        return session.text(made.rows()[0][: -1 if made.stopped[0] else None]).strip()

    says(page, f"^At {knob.prior:.2f}, prior$", alone(knob.prior))
    says(page, "^Without the knob$", "Oslo")
    press(page, "context:")
    says(page, f"^At {knob.context:.2f}, context$", alone(knob.context))
    slider = page.get_by_role("slider", name="Value along the direction")
    step = abs(knob.prior - knob.context) / 60
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    at = knob.context + 4 * step
    says(page, f"^At {at:.2f}$", alone(at))
    expect(page.get_by_role("region", name="Asked so far").get_by_role("cell", name=f"{at:.2f}")).to_be_visible()
    jobs, before = server.jobs, set(server.jobs._jobs)
    press(page, "prior:")
    says(page, f"^At {knob.prior:.2f}, prior$", "Paris")
    press(page, "natural, context:")
    says(page, "natural, context$", alone(knob.natural[1]))
    assert set(jobs._jobs) == before, "what was asked before needs no job"
    plot = drawn(page, "Probability of the first token of both answers")
    curve = turning_of(server, viewed).figure().data.query("series == 'Paris (prior)'")
    x, y = curve["x"].iloc[25], curve["y"].iloc[25]
    click_at(page, plot, x, y)
    says(page, f"^At {x:.2f}$", alone(x))
    page.locator("summary", has_text="In Python").click()
    assert "show(knob, session, prompt)" in text_of(page)
    watched.is_quiet()
    sent_back = [str(one.message) for one in recwarn if "already known" in str(one.message)]
    assert sent_back == [], "a click on what the server added sends none of it back"


def test_a_value_that_is_no_longer_wanted_is_not_answered(live: Callable[..., Any], server: Any) -> None:
    page = live("Madrid").page
    session = server.jobs.shelf.get("organism/context-knob")
    slider = page.get_by_role("slider")
    before = set(server.jobs._jobs)
    with session.lock:  # what is asked now waits until the lock is free
        slider.focus()
        for _ in range(6):
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(60)
        page.get_by_role("button", name="Cancel").wait_for()
        new: list[Any] = []
        while len(new) < len(now := [job for id, job in server.jobs._jobs.items() if id not in before]):
            new = now
            page.wait_for_timeout(1500)
        until(lambda: len([job for job in new if not job.ended and not job.reporter.cancelled.is_set()]) == 1)
    page.get_by_role("button", name="Cancel").wait_for(state="hidden")
    expect(page.locator(".answer .said").first).not_to_have_text("…", timeout=WAIT)
    until(lambda: new[-1].state == "done")
    assert [job.state for job in new].count("done") <= 2


def test_other_texts_hide_the_answers_until_they_are_asked(live: Callable[..., Any]) -> None:
    page = live("Oslo").page
    fill(page, Context="The capital of France is Rome.")
    expect(page.get_by_role("slider")).to_be_hidden()
    press(page, "Ask")
    says(page, "^Without the knob$", "Rome")
    press(page, "context:")
    says(page, "context$", "Rome")
    fill(page, Context="The capital of France is Oslo.")
    says(page, "^Without the knob$", "Oslo")
    expect(page.get_by_role("slider")).to_be_visible()
    fill(page, Query="")
    press(page, "Ask")
    page.get_by_text("there is no query: write the beginning").wait_for()


def test_a_page_answers_before_its_browser_has_come_to_rest(
    live: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    live("Oslo")
    monkeypatch.setattr(type(pn.state), "_schedule_on_load", lambda self, doc, event: None)
    page = live().page  # begins with the text that was asked before
    expect(page.get_by_role("slider")).to_be_visible()
    fill(page, Context="The capital of France is Quito.")
    expect(page.get_by_role("slider")).to_be_hidden()
    press(page, "Ask")
    says(page, "^Without the knob$", "Quito")


def test_asking_again_keeps_what_was_turned(live: Callable[..., Any], server: Any) -> None:
    page = live("Oslo").page
    press(page, "context:")
    says(page, "context$", "Oslo")
    before = set(server.jobs._jobs)
    press(page, "Ask")
    page.wait_for_timeout(1_000)
    says(page, "context$", "Oslo")
    assert set(server.jobs._jobs) == before, "what is on the page needs no job"


def test_two_visitors_get_their_own_answers(live: Callable[..., Any]) -> None:
    answers = {"Rome": live().page, "Cairo": live().page}
    for city, page in answers.items():
        fill(page, Context=f"The capital of France is {city}.")
    for page in answers.values():
        press(page, "Ask")
    for city, page in answers.items():
        says(page, "^Without the knob$", city)
        press(page, "context:")
        says(page, "context$", city)


def test_hostile_texts_do_nothing(live: Callable[..., Any], visit: Callable[..., Any]) -> None:
    watched = live()
    page = watched.page
    fill(page, Context=HOSTILE, Query=HOSTILE)
    expect(page.get_by_role("slider")).to_be_hidden()
    press(page, "Ask")
    page.get_by_role("slider").wait_for()
    page.locator("summary", has_text="In Python").click()
    assert "<img src=x onerror=" in text_of(page)
    assert page.evaluate("window.hit") is None
    watched.is_quiet()
    from urllib.parse import quote

    for path in (f"/live/{quote(HOSTILE, safe='')}", f"/live/context-knob?run={quote(HOSTILE, safe='')}"):
        other = visit(path)
        other.page.wait_for_timeout(500)
        assert other.page.evaluate("window.hit") is None


def test_a_model_without_a_knob_says_what_there_is(live: Callable[..., Any]) -> None:
    page = live().page
    page.get_by_role("combobox", name="Model").click()
    page.locator("li", has_text=re.compile("^organism/head-roles$")).click()
    page.get_by_text("There is no knob for organism/head-roles: one ships for").wait_for()
    assert "runs in this folder learnt one for organism/context-knob" in text_of(page)
    expect(page.get_by_role("button", name="Ask")).to_be_disabled()


def test_every_page_that_knows_of_it_leads_there(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    name = "Turn the knob between prior and context"
    for path, goal in (
        ("/", "/live/context-knob"),
        ("/probe/context-knob", "/live/context-knob"),
        (f"/run/{viewed['knob'].id}", f"/live/context-knob?run={viewed['knob'].id}"),
    ):
        link = visit(path).page.get_by_role("link", name=name)
        link.wait_for(timeout=WAIT)
        assert link.get_attribute("href") == goal


def test_read_only_says_that_it_needs_a_model(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    port = shared_port(1)
    served = serve(tmp_path, port=port, threaded=True, read_only=True)
    try:
        page = open_page(f"http://127.0.0.1:{port}/live/context-knob").page
        page.get_by_text("This server is read-only and holds no model").wait_for(timeout=WAIT)
        assert page.get_by_role("button", name="Ask").count() == 0
    finally:
        served.stop()


@pytest.mark.parametrize("width", [1280, 800])
def test_it_fits_and_axe_finds_nothing_serious(width: int, live: Callable[..., Any]) -> None:
    page = live("Oslo", viewport={"width": width, "height": 900}).page
    drawn(page, "Probability of the first token of both answers")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found: dict[str, list[str]] = {}
    for scheme in ("light", "dark"):
        if scheme == "dark":
            page.get_by_label("Toggle theme").click()
            page.locator(".plot[data-theme=dark]").first.wait_for()
            page.wait_for_timeout(1_000)  # colours fade from one theme to the other
        found |= {f"{rule} {scheme}": nodes for rule, nodes in violations(page).items()}
    assert found == {}
