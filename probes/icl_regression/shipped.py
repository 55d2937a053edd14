"""The learners that ship with the package, for runs that show others of their kind beside the one that is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from .asking import Task

if TYPE_CHECKING:
    from workbench.internals.session import Session

PREFIX = "icl-"


@dataclass(frozen=True)
class Shipped:
    """A trained learner with tasks of its own for every prompt, as its recipe says."""

    name: str
    layers: int
    dimensions: int
    pairs: int
    noise: float


@cache
def names() -> tuple[str, ...]:
    """All learners and constructions that ship, as models are called."""
    folders = resources.files("workbench.data").joinpath("organisms").iterdir()
    return tuple(sorted(f"organism/{each.name}" for each in folders if each.name.startswith(PREFIX) and each.is_dir()))


@cache
def learners() -> tuple[Shipped, ...]:
    """All that were trained on tasks of their own, by depth."""
    found = []
    for folder in resources.files("workbench.data").joinpath("organisms").iterdir():
        told = folder.joinpath("planted.json")
        if not folder.name.startswith(PREFIX) or not told.is_file():
            continue
        said = json.loads(told.read_text(encoding="utf-8"))
        if said.get("labels") == "own":
            found.append(Shipped(folder.name, said["layers"], said["dimensions"], said["pairs"], said["noise"]))
    return tuple(sorted(found, key=lambda each: (each.dimensions, each.noise, each.layers, each.name)))


def beside(session: Session, task: Task) -> list[Shipped]:
    """Those other than the session's own that were trained on a run's task, and have room for its prompts."""
    own = session.info.id.removeprefix("organism/")
    return [
        each
        for each in learners()
        if each.name != own
        and each.dimensions == task.dimensions
        and each.noise == task.noise
        and each.pairs >= task.length
    ]
