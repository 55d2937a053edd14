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
    from ..reports import write
    from ..runs import report_format

    kind = to or report_format(output)
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name the file to write, such as {output / 'report.html'}")
    path = write([open_run(name, runs) for name in run], output, to=kind)
    if json:
        as_json({"path": str(path), "format": kind, "bytes": path.stat().st_size})
    else:
        line(str(path))


def serve(
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")] = 5006,
    address: Annotated[str, typer.Option("--address", help="Where to listen.")] = "127.0.0.1",
    read_only: Annotated[bool, typer.Option("--read-only", help="Show saved runs only.")] = False,
    auth: Annotated[str | None, typer.Option("--auth", help="FILE with names and passwords.")] = None,
    json: Json = False,
) -> None:
    """Dashboards in a browser, on this machine only unless told otherwise."""
    from ..dashboards import serve as serve_pages

    serve_pages(runs=runs, port=port, address=address, read_only=read_only, auth=auth, json=json)
