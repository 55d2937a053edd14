"""From plan to result as a person sees it: progress, cancel, refusal, failure, and a run beside another."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.asking.hands import MODEL, Visit, done, fill, more, press, until
from tests.browser.test_pages import text_of
from tests.chromium import choose
from workbench.dashboards.server.limits import Limits
from workbench.records import store

pytestmark = pytest.mark.browser


def test_plan_then_start_shows_progress_partial_results_and_the_run(visit: Visit, server: Any) -> None:
    other = visit("/").page
    watched = visit("/probe/slow")
    page = watched.page
    more(page)
    fill(page, n=25, pause=0.2)
    press(page, "Plan")
    page.get_by_role("heading", name="Planned").wait_for(timeout=60_000)
    assert page.get_by_role("row", name=re.compile("Passes 25")).is_visible()
    assert not server.runs.exists()
    before = time.monotonic()
    press(page, "Start")
    page.locator("progress").wait_for()
    shown = time.monotonic() - before
    page.get_by_text(re.compile(r"slow steps.*: \d+ of 25, about .* left")).wait_for()
    page.get_by_role("cell", name="first", exact=True).wait_for()
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    other.get_by_role("row", name=re.compile("slow .*running")).wait_for()
    id = done(page)
    assert shown < 3, f"progress was shown after {shown:.1f} s"
    page.get_by_role("figure", name="One bar.").locator(".bars .point").wait_for()
    assert "The answer is" in text_of(page) and store.read(server.runs / id).spec.given["n"] == 25
    page.get_by_role("link", name="The whole run").click()
    page.locator("h1", has_text="slow on organism").wait_for(timeout=60_000)
    watched.is_quiet()


def test_cancel_stops_a_run_that_can_then_go_on(visit: Visit, server: Any) -> None:
    watched = visit("/probe/slow")
    page = watched.page
    more(page)
    fill(page, n=60, pause=0.1)
    press(page, "Start")
    page.get_by_text(re.compile("slow steps.*: [1-9]")).wait_for(timeout=60_000)
    press(page, "Cancel")
    page.get_by_role("heading", name="Cancelled").wait_for()
    id = page.get_by_role("link", name="Go on with it").get_attribute("href").partition("resume=")[2]
    assert store.read(server.runs / id).status == "cancelled"
    page.get_by_role("link", name="Go on with it").click()
    page.get_by_text("This goes on with run").wait_for(timeout=60_000)
    page.locator("pre", has_text=f"--resume {id}").wait_for()
    press(page, "Go on")
    assert done(page) == id
    watched.is_quiet()


def test_closing_a_tab_cancels_its_job_and_reloading_keeps_it(visit: Visit, server: Any) -> None:
    page = visit("/probe/slow").page
    more(page)
    fill(page, n=500, pause=0.1)
    press(page, "Start")
    page.get_by_text(re.compile("slow steps.*: [1-9]")).wait_for(timeout=60_000)
    (job,) = server.jobs.active()
    page.reload()
    page.get_by_text(re.compile("slow steps.*: [1-9]")).wait_for(timeout=60_000)
    time.sleep(server.jobs.limits.absence + 2)
    assert server.jobs.active() == [job]
    page.close()
    until(lambda: job.state == "cancelled", server.jobs.limits.absence + 5)


def test_a_refused_run_offers_settings_that_fit(visit: Visit, server: Any) -> None:
    before = server.jobs.limits
    server.jobs.limits = Limits(memory=4_000_000)
    try:
        page = visit("/probe/slow").page
        fill(page, length=30000)
        press(page, "Start")
        page.get_by_role("heading", name="Refused").wait_for(timeout=60_000)
        alert = page.get_by_role("alert").filter(has_text="needs about")
        expect(alert).to_contain_text(
            re.compile(r"slow on \S+, preset quick, .*length = 30000, needs about \d+ MiB of memory")
        )
        expect(alert).to_contain_text("and may take 4 MiB. The settings on the buttons below would fit.")
        offered = page.get_by_role("button", name=re.compile(r"Use length = \d+ \(\d+ [KM]iB\)"))
        offered.wait_for()
        page.wait_for_timeout(
            3_000
        )  # Panel makes a new button a second time after some 0.2 s, and a click between is lost
        offered.click()
        expect(alert).to_have_count(0)
        press(page, "Plan")
        page.get_by_role("heading", name="Planned").wait_for(timeout=60_000)
        server.jobs.limits = Limits(prompt_tokens=10)
        press(page, "Start")
        page.get_by_text("is longer than the 10 that this server takes").wait_for(timeout=60_000)
    finally:
        server.jobs.limits = before


def test_a_failure_is_one_line(visit: Visit, caplog: pytest.LogCaptureFixture) -> None:
    page = visit("/probe/slow").page
    more(page)
    page.get_by_role("checkbox", name="fails").check()
    press(page, "Start")
    page.get_by_role("heading", name="Failed").wait_for(timeout=60_000)
    body = text_of(page)
    assert "RuntimeError: broken in the middle" in body and "Traceback" not in body
    (logged,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert "a job of slow on organism/attention-profile failed" in logged and "broken in the middle" in logged
    caplog.clear()


def test_a_second_run_is_compared_with_the_first(visit: Visit, server: Any) -> None:
    page = visit("/probe/slow").page
    press(page, "Start")
    first = done(page)
    fill(page, n=4)
    page.locator("pre", has_text="n=4").first.wait_for()
    again = visit(f"/probe/slow?from={first}", model="").page
    fill(again, n=5)
    press(again, "Start")
    second = done(again)
    assert store.read(server.runs / second).spec.given["n"] == 5
    again.get_by_role("heading", name="Beside the run it was to be compared with").wait_for()
    link = again.get_by_role("link", name="compare all of them")
    assert link.get_attribute("href") == f"/compare?runs={first},{second}"
    expect(again.get_by_role("figure", name="One bar.")).to_have_count(2)
    expect(again.get_by_role("row", name=re.compile("^n 3 5"))).to_be_visible()
    press(page, "Start")
    until(lambda: done(page) not in (first, second))


def test_filters_of_the_home_page(visit: Visit, server: Any) -> None:
    page = visit("/").page
    total = len(store.listing(server.runs).records)
    page.get_by_text(f"{total} of {total} in").wait_for()
    choose(page, "Status", "error")
    page.get_by_text(f"1 of {total} in").wait_for()
    choose(page, "Status", "all")
    choose(page, "Probe", "slow")
    choose(page, "Model", MODEL)
    page.get_by_text(f"{total} of {total} in").wait_for()
