"""How long work tells where it is, and how it is asked to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from .errors import Cancelled

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """One progress event: `done` of `total` steps of a stage, and the seconds left at the present pace."""

    done: int
    total: int
    stage: str
    eta: float | None


Listener = Callable[[Progress], None]


@dataclass
class Reporter:
    """Sends progress events to a listener and stops the work between two steps once it is cancelled."""

    listener: Listener | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise `Cancelled` if someone asked to stop."""
        if self.cancelled.is_set():
            raise Cancelled("cancelled")

    def send(self, done: int, total: int, stage: str, eta: float | None = None) -> None:
        """Report one step and stop here if the work was cancelled."""
        self.check()
        if self.listener is not None:
            self.listener(Progress(done, total, stage, eta))

    def steps(self, items: Iterable[T], stage: str, total: int | None = None) -> Iterator[T]:
        """Yield `items`, reporting each with an estimate of the time left."""
        items = items if hasattr(items, "__len__") else list(items)
        total = len(items) if total is None else total  # type: ignore[arg-type]
        start = time.monotonic()
        self.send(0, total, stage)
        for done, item in enumerate(items, start=1):
            yield item
            elapsed = time.monotonic() - start
            self.send(done, total, stage, elapsed / done * (total - done))

    def parts(self, total: int, stage: str) -> Callable[[int], Reporter]:
        """Reporters for calls that are parts of one stage: given how many of its `total` steps came before a call."""
        start = time.monotonic()

        def of(before: int) -> Reporter:
            def hear(step: Progress) -> None:
                done = before + step.done
                self.send(done, total, stage, (time.monotonic() - start) / done * (total - done) if done else None)

            return Reporter(hear, self.cancelled)

        return of
