"""`python -m workbench.dashboards RUNS`: the pages as a program, for those that must not import them."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence

from ..cli.output import as_json, line
from .app import DEFAULT_PORT, serve
from .server.limits import Limits

FRAMES = ("http://127.0.0.1:*", "http://localhost:*")
"""Where a page may be shown inside another: in a JupyterLab on this machine."""


def main(arguments: Sequence[str]) -> None:
    """Serve until stopped; raises `UsageError` for an address or a port that cannot be served on."""
    parser = argparse.ArgumentParser("python -m workbench.dashboards", description="Serve a folder of runs as pages.")
    parser.add_argument("runs")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--read-only", action="store_true", help="no probe, no model, no new note")
    parser.add_argument("--auth", help="a file of names and passwords")
    parser.add_argument("--host", action="append", default=[], help="a further name the pages are asked for under")
    parser.add_argument("--model", action="append", default=[], help="a further model to offer")
    parser.add_argument("--memory", type=int, help="bytes that a run may take")
    parser.add_argument("--json", action="store_true", help="say the address as JSON")
    parser.add_argument("--in-notebook", action="store_true", help="allow frames; end when standard input is closed")
    asked = parser.parse_args(arguments)
    if asked.in_notebook:
        threading.Thread(target=_end_with_the_notebook, daemon=True).start()

    def started(url: str) -> None:
        as_json({"url": url}) if asked.json else line(f"open {url}")
        sys.stdout.flush()

    serve(
        asked.runs,
        asked.port,
        asked.address,
        started=started,
        read_only=asked.read_only,
        auth=asked.auth,
        hosts=asked.host,
        models=asked.model,
        limits=Limits(memory=asked.memory),
        frames=FRAMES if asked.in_notebook else (),
    )


def _end_with_the_notebook() -> None:
    """End this process when whoever started it is gone: its end of the pipe is closed then."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
