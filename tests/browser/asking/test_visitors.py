"""Many visitors, tabs that come and go, a server that dies, and one that only shows."""

from __future__ import annotations

import gc
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import workbench as wb
from soak.pages import cycle
from tests.browser.asking.hands import MODEL, Visit, done, fill, press, until
from tests.browser.test_pages import text_of
from tests.chromium import choose, shared_port
from tests.dashboards import slow_probe
from workbench.dashboards import serve
from workbench.dashboards.server.limits import Limits
from workbench.records import store

pytestmark = pytest.mark.browser


def test_eight_visitors_get_their_own_answers(visit: Visit, server: Any) -> None:
    pages = [visit("/probe/slow").page for _ in range(8)]
    texts = [f"{number} the text of visitor {number}" for number in range(8)]
    for page, text in zip(pages, texts, strict=True):
        choose(page, "data", "a text of my own")
        fill(page, **{"data: paste a text": text})
    for page in pages:
        press(page, "Start")
    answers = [done(page) for page in pages]
    session = wb.load(MODEL)
    vocabulary = session.shape.vocabulary
    for answer, text in zip(answers, texts, strict=True):
        record = store.read(server.runs / answer)
        ids = [(ord(sign) * 7) % vocabulary for sign in text[:16]]
        assert Path(record.spec.given["data"]).read_text() == text
        assert record.headline[0].value == pytest.approx(slow_probe.answer(session, ids), rel=1e-5)
    assert len({store.read(server.runs / answer).headline[0].value for answer in answers}) == 8


def test_opening_and_closing_keeps_memory_flat(server: Any, profile: Any) -> None:
    def documents() -> int:
        gc.collect()
        return sum(type(each).__name__ == "Document" for each in gc.get_objects())

    sizes, before = [], documents()
    for _ in range(20):
        cycle(profile, f"{server.address}/probe/slow")
        sizes.append(psutil.Process().memory_info().rss / 2**20)
    until(lambda: not server.server.get_sessions(), server.jobs.limits.absence + 20)
    until(lambda: documents() <= before + 2, 60)
    assert max(sizes[-5:]) - max(sizes[5:10]) < 40, f"MiB after each visit: {[round(size) for size in sizes]}"


SERVING = """
import sys
from tests.dashboards import slow_probe
from workbench.dashboards import serve
from workbench.dashboards.server.run_request import RunRequest
slow_probe.register()
served = serve(sys.argv[1], port=int(sys.argv[2]), threaded=True)
served.jobs.submit(RunRequest("slow", "organism/attention-profile", given={"n": 500, "pause": 0.1}), "tab")
print("served", flush=True)
sys.stdin.read()
"""


def test_a_server_that_was_killed_has_lost_no_run(tmp_path: Path, open_page: Callable[..., Any], server: Any) -> None:
    runs, port = tmp_path / "runs", shared_port(1)
    child = subprocess.Popen(
        [sys.executable, "-c", SERVING, str(runs), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == b"served\n"
        until(lambda: any(runs.glob("*/stages/*")), 120)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    again = serve(runs, port=port, threaded=True, limits=Limits(absence=2))
    try:
        address = f"http://127.0.0.1:{port}"
        page = open_page(address, allowed=(address, address.replace("http", "ws"), "blob:")).page
        page.get_by_text("interrupted", exact=True).wait_for(timeout=60_000)
        page.get_by_role("link", name="Go on").click()
        page.get_by_role("button", name="Go on").wait_for(timeout=60_000)
        press(page, "Go on")
        page.get_by_text(re.compile("slow steps.*: [1-9]")).wait_for(timeout=60_000)
        (record,) = store.listing(runs).records
        assert record.status == "started" and len(record.resumed) == 1
    finally:
        again.stop()


def test_read_only_pages_start_nothing(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    port = shared_port(1)
    server = serve(tmp_path / "none", port=port, threaded=True, read_only=True)
    try:
        address = f"http://127.0.0.1:{port}"
        page = open_page(address, allowed=(address, address.replace("http", "ws"), "blob:")).page
        page.get_by_text("There is no run in").wait_for(timeout=60_000)
        assert "Probes" not in text_of(page) and server.jobs is None
        assert page.goto(f"{address}/probe/attention-profile").status == 404
    finally:
        server.stop()


def test_beyond_the_visitors_it_takes_a_page_says_so(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    port = shared_port(1)
    server = serve(tmp_path, port=port, threaded=True, read_only=True, limits=Limits(visitors=1, absence=1))
    try:
        address = f"http://127.0.0.1:{port}"
        first, second = open_page(address).page, open_page(address).page
        second.get_by_text("This server takes 1 open tabs").wait_for(timeout=60_000)
        first.get_by_text("There is no run in").wait_for(timeout=60_000)
        first.close()
        second.close()
        until(lambda: not server.server.get_sessions())
        open_page(address).page.get_by_text("There is no run in").wait_for(timeout=60_000)
    finally:
        server.stop()
