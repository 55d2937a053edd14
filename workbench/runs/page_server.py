"""The page of a run inside a notebook: a frame on a server that the notebook starts, for this machine alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import quote

from ..errors import WorkbenchError
from ..html_table import Bundle, html

_servers: dict[Path, tuple[str, subprocess.Popen[str]]] = {}
_starting = threading.Lock()
"""Held while a server starts, so that two threads that ask for one do not start two."""


class Page:
    """The page of a run; a notebook shows it, and the run as a table where no server runs."""

    def __init__(self, url: str, title: str, table: Bundle, height: int) -> None:
        self.url = url
        self._title, self._table, self._height = title, table, height

    def __repr__(self) -> str:
        return f"<Page {self.url}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        kept = self._table
        frame = (
            f'<iframe src="{html(self.url)}" title="{html(self._title)}" width="100%" height="{self._height}" '
            'style="border:0" referrerpolicy="no-referrer"></iframe>'
        )
        still = f"<details><summary>The run as a table</summary>{kept['text/html']}</details>"
        return {**kept, "text/html": f"<div>{frame}{still}</div>"}


def page(folder: Path, run_id: str, table: Bundle, height: int = 900) -> Page:
    """The page of a run, which is a table where no server runs; the server is started when it is first asked for."""
    return Page(f"{_server(folder.resolve().parent)}/run/{quote(run_id, safe='')}", run_id, table, height)


def _server(runs: Path) -> str:
    """The address of the server for a folder of runs.

    It is a process of its own: Panel inside a kernel would fetch its scripts from elsewhere. It ends with this one.
    """
    with _starting:
        if runs not in _servers or _servers[runs][1].poll() is not None:
            _servers[runs] = _start(runs)
        return _servers[runs][0]


def _start(runs: Path) -> tuple[str, subprocess.Popen[str]]:
    """Start a server for a folder of runs; its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile("w+") as said:
        options = ["--port", str(port), "--read-only", "--in-notebook"]
        command = [sys.executable, "-m", "workbench.dashboards", str(runs), *options]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)
        assert server.stdin is not None and server.stdout is not None
        url = server.stdout.readline().strip().removeprefix("open ")
        if not url:
            server.wait()
            server.stdout.close()
            server.stdin.close()
            said.seek(0)
            why = (said.read().strip().splitlines() or ["it said nothing"])[-1]
            raise WorkbenchError(f"the server of the pages did not start: {why}; `run.report(path)` needs none")
    return url, server


def stop() -> None:
    """Stop the servers of this process; the pages in its notebooks are empty then."""
    with _starting:
        for _, server in _servers.values():
            assert server.stdin is not None and server.stdout is not None
            server.stdin.close()
            server.wait()
            server.stdout.close()
        _servers.clear()
