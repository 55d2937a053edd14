"""The page of a run inside a notebook: a frame on a server that the notebook starts, for this machine alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import WorkbenchError
from ..html_table import Bundle, html
from ..html_table import run as described

if TYPE_CHECKING:
    from .run import Run

FRAMES = ("http://127.0.0.1:*", "http://localhost:*")
"""Where a page may be shown inside another: in a JupyterLab on this machine."""
_servers: dict[Path, tuple[str, subprocess.Popen[str]]] = {}


class Page:
    """The page of a run; a notebook shows it, and the run as a table where no server runs."""

    def __init__(self, run: Run, url: str, height: int) -> None:
        self.url = url
        self._run, self._height = run, height

    def __repr__(self) -> str:
        return f"<Page {self.url}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        kept = described(self._run)
        frame = (
            f'<iframe src="{html(self.url)}" title="{html(self._run.id)}" width="100%" height="{self._height}" '
            'style="border:0" referrerpolicy="no-referrer"></iframe>'
        )
        still = f"<details><summary>The run as a table</summary>{kept['text/html']}</details>"
        return {**kept, "text/html": f"<div>{frame}{still}</div>"}


def page(run: Run, height: int = 900) -> Page:
    """The page of a run on a server of this process, which is started when it is first asked for."""
    return Page(run, f"{_server(run.folder.resolve().parent)}/run/{quote(run.id, safe='')}", height)


def _server(runs: Path) -> str:
    """The address of the server for a folder of runs.

    It is a process of its own: Panel inside a kernel would fetch its scripts from elsewhere. It ends with this one.
    """
    if runs in _servers and _servers[runs][1].poll() is None:
        return _servers[runs][0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "workbench.runs.page_server", str(runs), str(port)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        if not url:
            server.wait()
            said.seek(0)
            why = (said.read().strip().splitlines() or ["it said nothing"])[-1]
            raise WorkbenchError(f"the server of the pages did not start: {why}; `run.report(path)` needs none")
    _servers[runs] = url, server
    return url


def stop() -> None:
    """Stop the servers of this process; the pages in its notebooks are empty then."""
    for _, server in _servers.values():
        assert server.stdin is not None and server.stdout is not None
        server.stdin.close()
        server.wait()
        server.stdout.close()
    _servers.clear()


def _serve(runs: str, port: str) -> None:
    """Serve until whoever started this is gone: its end of the pipe is closed then."""
    from workbench.dashboards import serve

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    serve(runs, int(port), started=lambda url: print(url, flush=True), read_only=True, frames=FRAMES)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
