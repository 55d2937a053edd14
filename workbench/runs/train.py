"""Make again what `data/` holds: run a recipe into a folder, with a record of how."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, tracebacks
from ..errors import Cancelled, UsageError, WorkbenchError
from ..probe import settings
from ..probe.contract import Config, Recipe
from ..progress import Listener, Reporter
from ..records import store
from ..records.environment import environment
from .resume import Request, changed

if TYPE_CHECKING:
    from ..internals.session import Session

SCHEMA = 1


def earlier_attempt(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The record of a training that stopped; raises `UsageError` if there is none of this recipe in the folder."""
    try:
        before = json.loads((folder / store.RECORD).read_bytes())
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict) or not {"recipe", "spec", "preset", "created", "stats"} <= before.keys():
        raise UsageError(f"there is no training in {folder} to go on with: it has no readable {store.RECORD}")
    if before["recipe"] != recipe.name:
        raise UsageError(f"the training in {folder} is of the recipe {before['recipe']!r}, not {recipe.name!r}")
    if before.get("status") == "success":
        raise UsageError(f"the training in {folder} is already done; there is nothing to go on with")
    return before


def _asked(before: Mapping[str, Any]) -> Request:
    spec = before["spec"]
    return Request(before["preset"], spec["seed"], dict(spec["given"]), dict(spec["resolved"]))


def _refuse_another(
    before: Mapping[str, Any], config: Config, seed: int, session: Session | None, folder: Path
) -> None:
    """Raise `UsageError` if what goes on would not be what was begun."""
    spec = before["spec"]
    differing = changed(spec["resolved"], config.model_dump(mode="json"), spec["seed"], seed)
    if session is not None and before["model"] and before["model"]["fingerprint"] != session.info.fingerprint:
        differing.append("the model's weights are others")
    if differing:
        raise UsageError(f"the training in {folder} cannot go on: {'; '.join(differing)}; start it in an empty folder")


def train(
    recipe: Recipe,
    folder: Path,
    preset: str | None = None,
    seed: int | None = None,
    given: Mapping[str, Any] | None = None,
    session: Session | None = None,
    progress: Listener | Reporter | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Run a recipe into a folder and return the record, which is also kept there as `record.json`.

    The record is there from the start, with status `started`. The preset is `full` and the seed 0 unless told
    otherwise; with `resume`, what is not said again is as it was. Raises `UsageError` for wrong settings, for a folder
    that holds something already, and if a recipe cannot go on from what another attempt left.
    """
    presets = {"smoke": {}, "quick": {}, "full": {}, **recipe.presets}
    if resume and not recipe.resumable:
        raise UsageError(f"the recipe {recipe.name!r} cannot go on from the middle; start it in an empty folder")
    before = earlier_attempt(recipe, folder) if resume else None
    asked = Request(preset or "full", seed or 0, dict(given or {}), None)
    if before is not None:
        asked = _asked(before).again(preset, seed, given)
    config = settings.resolve(
        recipe.Config, presets, asked.preset, asked.given if asked.resolved is None else asked.resolved
    )
    if before is not None:
        _refuse_another(before, config, asked.seed, session, folder)
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something already; name an empty folder")
    if recipe.needs_model and session is None:
        raise UsageError(f"the recipe {recipe.name!r} needs a model; name one")
    folder.mkdir(parents=True, exist_ok=True)
    files.remove_drafts(folder)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "makes": recipe.makes,
        "status": "started",
        "created": store.now() if before is None else before["created"],
        "finished": None,
        "model": session.info.model_dump(mode="json") if session is not None else None,
        "spec": {"given": asked.given, "resolved": config.model_dump(mode="json"), "seed": asked.seed},
        "preset": asked.preset,
        "environment": environment().model_dump(mode="json"),
        "stats": {"seconds": 0.0},
        "results": {},
        "files": {},
        "error": None,
        "resumed": [] if before is None else [*before.get("resumed", []), store.now()],
    }
    began = time.monotonic() - (0.0 if before is None else before["stats"]["seconds"])

    def write(status: str) -> None:
        record.update(status=status, stats={"seconds": time.monotonic() - began})
        if status != "started":
            record["finished"] = store.now()
        text = json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n"
        files.write(folder / store.RECORD, text)

    write("started")
    reporter = progress if isinstance(progress, Reporter) else Reporter(progress)
    extra = {"session": session} if recipe.needs_model else {}
    try:
        record["results"] = recipe.train(config, folder, asked.seed, reporter, **extra) or {}
        record["files"] = store.hash_files(folder)
        write("success")
    except BaseException as error:
        record["error"] = {
            "kind": type(error).__name__,
            "message": str(error),
            "traceback": tracebacks.told(error),
        }
        with contextlib.suppress(OSError):
            write("cancelled" if isinstance(error, Cancelled) or not isinstance(error, Exception) else "error")
        if store.is_full(error):
            raise WorkbenchError(f"the disk is full: free some space and train into {folder} again") from error
        raise
    return record
