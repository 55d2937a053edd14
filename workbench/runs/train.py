"""Make again what `data/` holds: run a recipe into a folder, with a record of how."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, UsageError, WorkbenchError
from ..probe import settings
from ..probe.contract import Recipe
from ..progress import Listener, Reporter
from ..records import store
from ..records.environment import environment

if TYPE_CHECKING:
    from ..internals.session import Session

SCHEMA = 1


def train(
    recipe: Recipe,
    folder: Path,
    preset: str = "full",
    seed: int = 0,
    given: Mapping[str, Any] | None = None,
    session: Session | None = None,
    progress: Listener | Reporter | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Run a recipe into a folder and return the record, which is also kept there as `record.json`.

    The record is there from the start, with status `started`. Raises `UsageError` for wrong settings, for a folder
    that holds something already, and if a recipe cannot go on from what another attempt left.
    """
    presets = {"smoke": {}, "quick": {}, "full": {}, **recipe.presets}
    config = settings.resolve(recipe.Config, presets, preset, given or {})
    if resume and not recipe.resumable:
        raise UsageError(f"the recipe {recipe.name!r} cannot go on from the middle; leave --resume out")
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something already; name an empty folder with -o")
    if recipe.needs_model and session is None:
        raise UsageError(f"the recipe {recipe.name!r} needs a model; name one with --model")
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "makes": recipe.makes,
        "status": "started",
        "created": store.now(),
        "finished": None,
        "model": session.info.model_dump(mode="json") if session is not None else None,
        "spec": {"given": dict(given or {}), "resolved": config.model_dump(mode="json"), "seed": seed},
        "preset": preset,
        "environment": environment().model_dump(mode="json"),
        "stats": {"seconds": 0.0},
        "files": {},
        "error": None,
    }
    began = time.monotonic()

    def write(status: str) -> None:
        record.update(status=status, stats={"seconds": time.monotonic() - began})
        if status != "started":
            record["finished"] = store.now()
        text = json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n"
        draft = folder / f".{store.RECORD}.{os.getpid()}"
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(folder / store.RECORD)
        finally:
            draft.unlink(missing_ok=True)

    write("started")
    reporter = progress if isinstance(progress, Reporter) else Reporter(progress)
    extra = {"session": session} if recipe.needs_model else {}
    try:
        recipe.train(config, folder, seed, reporter, **extra)
        record["files"] = store.hash_files(folder)
        write("success")
    except BaseException as error:
        record["error"] = {
            "kind": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
        with contextlib.suppress(OSError):
            write("cancelled" if isinstance(error, Cancelled) or not isinstance(error, Exception) else "error")
        if store.is_full(error):
            raise WorkbenchError(f"the disk is full: free some space and train into {folder} again") from error
        raise
    return record
