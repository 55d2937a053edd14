"""`workbench train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..formatting import duration
from . import options as given
from .output import as_json, line


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="What to make again.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder; trained/RECIPE if left out.")
    ] = None,
    model: given.Model = None,
    adapter: given.Adapter = None,
    engine: given.Engine = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    device_map: given.DeviceMap = None,
    revision: given.Revision = None,
    trust_remote_code: given.Trust = False,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="P", help="smoke, quick or full; full if left out.")
    ] = None,
    settings: given.Settings = None,
    seed: given.Seed = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with a training that stopped.")
    ] = None,
    json: given.Json = False,
) -> None:
    """Make an organism, an adapter or gates again, with the record of how."""
    from ..probe.registry import RECIPES
    from ..probe.settings import parse
    from ..progress_bars import cli_progress
    from ..records.record import ModelInfo
    from ..runs.rerun import load_again
    from ..runs.train import earlier_attempt
    from ..runs.train import train as run_recipe

    found = RECIPES.get(recipe)
    values = parse(settings or (), found.Config)
    named = (model, adapter, engine, device, dtype, device_map, revision)
    if not found.needs_model and any(value is not None for value in named):
        raise UsageError(f"the recipe {recipe!r} starts from nothing; leave the model options out")
    if resume is not None and output is not None:
        raise UsageError("--resume names the folder already; leave -o out")
    if resume is not None and not resume.is_dir():
        raise UsageError(f"there is no folder {resume} to go on in")
    session = None
    if found.needs_model and resume is not None and all(value is None for value in named):
        session = load_again(ModelInfo.model_validate(earlier_attempt(found, resume)["model"]), trust_remote_code)
    elif found.needs_model:
        session = given.load_session(*named, trust_remote_code)
    folder = resume or output or Path("trained") / recipe
    with cli_progress() as listener:
        record = run_recipe(found, folder, preset, seed, values, session, listener, resume is not None)
    if json:
        as_json(record)
    else:
        line(f"{recipe} is in {folder} ({duration(record['stats']['seconds'])})")
