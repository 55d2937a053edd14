"""`workbench report` and `workbench serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import UsageError
from .options import Json, RunNames, Runs
from .output import as_json, line


def report(
    run: RunNames,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PATH", help="The file to write.")],
    to: Annotated[
        Literal["html", "md", "pdf", "ipynb", "json"] | None,
        typer.Option("--to", help="The format; by default the end of PATH tells."),
    ] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """One file that opens offline, says what was run, and can be run again."""
    from ..api import open_run
    from ..reports import format_of, write

    kind = format_of(output, to)
    path = write([open_run(name, runs) for name in run], output, kind)
    if json:
        as_json({"path": str(path), "format": kind, "bytes": path.stat().st_size})
    else:
        line(str(path))


def serve(
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option("--port", metavar="N", help="Where to listen.")] = 5006,
    address: Annotated[str, typer.Option("--address", metavar="A", help="Which address to listen on.")] = "127.0.0.1",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show saved runs only; these pages do no more.")
    ] = False,
    json: Json = False,
) -> None:
    """Dashboards in a browser, on this machine only unless told otherwise."""
    if runs.exists() and not runs.is_dir():
        raise UsageError(f"{runs} is not a folder; give another with --runs")
    from ..dashboards import serve as serve_pages

    serve_pages(runs, port, address, started=lambda url: as_json({"url": url}) if json else line(f"open {url}"))
