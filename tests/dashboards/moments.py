"""A job that ends at a chosen moment: between two looks that a page takes at it."""

from __future__ import annotations

from typing import Any

from workbench.dashboards.server.job_queue import Job, State


class Flipping(Job):
    """Runs until its state was read so many times, and is at its end from then on."""

    def __init__(self, reads: int, end: State, **parts: Any) -> None:
        super().__init__(**parts)
        self.end, self.left = end, reads

    def __getattribute__(self, name: str) -> Any:
        held = object.__getattribute__(self, "__dict__")
        if name != "state" or "left" not in held:
            return object.__getattribute__(self, name)
        held["left"] -= 1
        return held["end"] if held["left"] < 0 else "running"
