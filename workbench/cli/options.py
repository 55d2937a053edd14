"""Options that several commands share, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import UsageError
from ..formatting import parse_size
from ..models.registered import TABLE

if TYPE_CHECKING:
    from ..internals.session import Session

DEFAULT_MODEL = TABLE[0].aliases[0]


def _bytes(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of the runs.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A path, an id, or the beginning of an id.")]
RunNames = Annotated[list[str], typer.Argument(metavar="RUN…", help="Paths, ids, or beginnings of ids.")]

Model = Annotated[
    str | None,
    typer.Option("--model", metavar="ID", help=f"A registered id, a folder or a Hub id; {DEFAULT_MODEL} if left out."),
]
Adapter = Annotated[str | None, typer.Option("--adapter", metavar="ID", help="An adapter on top of the model.")]
Engine = Annotated[
    Literal["hf", "transformerlens", "nnsight"] | None, typer.Option("--engine", help="How internals are reached.")
]
Device = Annotated[str | None, typer.Option("--device", metavar="D", help="cpu, cuda, cuda:1, …")]
Dtype = Annotated[str | None, typer.Option("--dtype", metavar="T", help="float32, bfloat16, float16.")]
DeviceMap = Annotated[str | None, typer.Option("--device-map", metavar="M", help="auto, to spread the layers.")]
Revision = Annotated[
    str | None, typer.Option("--revision", metavar="R", help="A branch, tag or commit of a model on the Hub.")
]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that the model's repository brings.")]

Preset = Annotated[str | None, typer.Option("--preset", metavar="P", help="smoke, quick or full; quick if left out.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="A setting; may be repeated.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Seed of every random choice; 0.")]
Resume = Annotated[str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run that stopped.")]
Memory = Annotated[
    int | None,
    typer.Option("--memory", metavar="SIZE", parser=_bytes, help="Most memory a run may take; 80 % of what is free."),
]


def load_session(
    model: str | None,
    adapter: str | None,
    engine: str | None,
    device: str | None,
    dtype: str | None,
    device_map: str | None,
    revision: str | None,
    trust_remote_code: bool,
) -> Session:
    """Load the model that the options of a command name."""
    from ..internals.session import load

    if model is not None and not model.strip():
        raise UsageError("--model names no model; `workbench models` lists them")
    return load(
        model or DEFAULT_MODEL,
        engine=engine or "hf",
        adapter=adapter,
        device=device,
        dtype=dtype,
        device_map=device_map,
        revision=revision,
        trust_remote_code=trust_remote_code,
    )
