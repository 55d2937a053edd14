"""A lock that serves threads in the order they came."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType

from ..progress import Reporter

LOOK = 0.1
"""Seconds between two looks at whether a waiting thread's work was cancelled."""


class FifoRLock:
    """A reentrant lock with a queue: first come, first served; who waits can be cancelled."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._owner: int | None = None
        self._depth = 0

    @property
    def waiting(self) -> int:
        """How many threads wait for their turn."""
        return len(self._queue)

    def acquire(self, reporter: Reporter | None = None) -> None:
        """Wait for this thread's turn.

        Raises `Cancelled` if the reporter's work is cancelled meanwhile.
        """
        me = threading.get_ident()
        with self._changed:
            if self._owner == me:
                self._depth += 1
                return
            ticket = object()
            self._queue.append(ticket)
            try:
                while self._owner is not None or self._queue[0] is not ticket:
                    if reporter is not None:
                        reporter.check()
                    self._changed.wait(LOOK if reporter is not None else None)
            except BaseException:
                self._queue.remove(ticket)
                self._changed.notify_all()
                raise
            self._queue.popleft()
            self._owner, self._depth = me, 1

    def release(self) -> None:
        """End this thread's turn, once for each time it was taken."""
        with self._changed:
            if self._owner != threading.get_ident():
                raise RuntimeError("released by a thread whose turn it is not")
            self._depth -= 1
            if self._depth == 0:
                self._owner = None
                self._changed.notify_all()

    def __enter__(self) -> FifoRLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
