"""Whether the user has accepted the terms of a model that is fetched only then."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ..errors import UsageError
from .cache import cache_folder
from .model_files import write_json
from .registered import Registered


def _note(model: Registered) -> Path:
    return cache_folder() / "accepted" / f"{model.id}.json"


def is_accepted(model: Registered) -> bool:
    """Whether the terms, as they are told today, were accepted for the cache in use."""
    try:
        noted = json.loads(_note(model).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(noted, dict) and noted.get("licence") == asdict(model.licence)


def accept(model: Registered) -> None:
    """Note beside the fetched models that the user accepts the terms, with the time and what was told of them."""
    path = _note(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, {"schema": 1, "id": model.id, "accepted": now, "licence": asdict(model.licence)})


def need_acceptance(model: Registered) -> None:
    """Check that the terms were accepted, where they have to be.

    Raises `UsageError` with where they are, what they restrict, and how to accept them.
    """
    licence = model.licence
    if licence.must_accept and not is_accepted(model):
        raise UsageError(
            f"{model.id} is fetched only for someone who accepts the {licence.name}, {licence.url}: {licence.notice} "
            f"Read them; if you accept them, run `workbench models fetch {model.id} --accept-license`, or in Python "
            f"workbench.models.fetch({model.id!r}, accept_license=True)"
        )
