"""The page of a run in a notebook: served to this machine alone, in a frame, with a table where no server runs."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request

import pytest

import workbench as wb
from tests.sample_runs import write_run
from workbench.runs import page_server


def _ask(url: str):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.status, dict(answer.headers)


def test_a_run_shows_its_page_until_the_servers_are_stopped(tmp_path):
    first, second = (wb.open(tmp_path / write_run(tmp_path, words=words)) for words in ("", "<script>"))
    try:
        page, other = first.show(height=500), second.show()
        status, headers = _ask(page.url)
        assert status == 200 and page.url.startswith("http://127.0.0.1:")
        assert page.url.rpartition("/run/")[0] == other.url.rpartition("/run/")[0]
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors http://127.0.0.1:* http://localhost:*" in policy and "X-Frame-Options" not in headers
        shown = page._repr_mimebundle_()
        assert f'<iframe src="{page.url}"' in shown["text/html"] and 'height="500"' in shown["text/html"]
        assert "Three of 270 heads" in shown["text/html"] and "0.08 [0.02, 0.16]" in shown["text/plain"]
        assert "<script>" not in other._repr_mimebundle_()["text/html"]
    finally:
        page_server.stop()
    with pytest.raises(urllib.error.URLError):
        _ask(page.url)


def test_two_threads_that_ask_for_a_page_share_one_server(tmp_path, monkeypatch):
    started: list[object] = []
    asked = threading.Barrier(2)

    class Server:
        def __init__(self, *command, **pipes):
            started.append(self)
            self.stdin = self.stdout = self

        def readline(self):
            threading.Event().wait(0.2)
            return f"open http://127.0.0.1:{len(started)}"

        def poll(self):
            return None

        def wait(self): ...

        def close(self): ...

    def ask():
        asked.wait()
        page_server.page(tmp_path / "run", "run", {})

    monkeypatch.setattr(page_server.subprocess, "Popen", Server)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page_server.stop()
    assert len(started) == 1


def test_a_server_that_does_not_start_says_why(tmp_path, monkeypatch):
    run = wb.open(tmp_path / write_run(tmp_path))
    monkeypatch.setattr(page_server.sys, "executable", "/bin/false")
    with pytest.raises(wb.WorkbenchError, match="did not start: it said nothing"):
        run.show()
