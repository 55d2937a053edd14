"""`workbench report` and `workbench serve`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import UsageError
from .options import Json, Memory, RunNames, Runs
from .output import as_json, line


def report(
    run: RunNames,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PATH", help="The file to write.")],
    to: Annotated[
        Literal["html", "md", "pdf", "ipynb", "json"] | None,
        typer.Option("--to", help="The format; by default the end of PATH tells."),
    ] = None,
    prompts: Annotated[
        bool, typer.Option("--prompts/--no-prompts", help="With prompts, tokens and answers, or without any of them.")
    ] = True,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """One file that opens offline, says what was run, and can be run again."""
    from ..reports import format_of, write
    from ..reports.damage import damage
    from ..runs.api import open_run

    kind = format_of(output, to)
    opened = [open_run(name, runs) for name in run]
    path = write(opened, output, kind, prompts=prompts)
    broken = {one.id: said for one in opened if (said := damage(one))}
    for name, said in broken.items():
        typer.echo(f"{name}: {said} The report says so too.", err=True)
    if json:
        as_json({"path": str(path), "format": kind, "bytes": path.stat().st_size, "damaged": broken})
    else:
        line(str(path))


def serve(
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option("--port", metavar="N", help="Where to listen.")] = 5006,
    address: Annotated[str, typer.Option("--address", metavar="A", help="Which address to listen on.")] = "127.0.0.1",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show saved runs only: no probe, no model, no new note.")
    ] = False,
    auth: Annotated[
        Path | None,
        typer.Option("--auth", metavar="FILE", help="JSON of names and passwords; needed for other addresses."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME:PORT", help="A further name the pages are asked for under; repeatable."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="ID", help="A further model to offer; may be repeated.")
    ] = None,
    memory: Memory = None,
    json: Json = False,
) -> None:
    """Dashboards in a browser, on this machine only unless told otherwise."""
    if runs.exists() and not runs.is_dir():
        raise UsageError(f"{runs} is not a folder; give another with --runs")
    # Nothing imports a page: they are started as a program, here in the same process.
    words = [
        *(str(runs), "--port", str(port), "--address", address),
        *(["--read-only"] if read_only else []),
        *(["--auth", str(auth)] if auth else []),
        *(word for name in host or () for word in ("--host", name)),
        *(word for name in model or () for word in ("--model", name)),
        *(["--memory", str(memory)] if memory else []),
        *(["--json"] if json else []),
    ]
    before, sys.argv = sys.argv, ["workbench.dashboards", *words]
    try:
        runpy.run_module("workbench.dashboards", run_name="__main__")
    finally:
        sys.argv = before
