"""The models that the pages have loaded: each once, for all visitors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...progress import Reporter

if TYPE_CHECKING:
    from ...internals.session import Session


class SessionPool:
    """Sessions by model and adapter; beyond the limit the one not used for the longest time is let go.

    Getting holds a lock, so a model that two threads ask for is loaded once.
    """

    def __init__(self, limit: int, further: Sequence[str] = ()) -> None:
        self._limit = limit
        self._further = tuple(further)
        self._held: OrderedDict[tuple[str, str | None], Session] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model: str, adapter: str | None = None, progress: Reporter | None = None) -> Session:
        """The session of a model, loaded if it is not here yet.

        Raises what `workbench.load` raises.
        """
        from ...internals.session import load

        with self._lock:
            key = (model, adapter)
            if key not in self._held:
                while len(self._held) >= self._limit:
                    self._held.popitem(last=False)[1].close()
                self._held[key] = load(model, adapter=adapter, progress=progress)
            self._held.move_to_end(key)
            return self._held[key]

    def models(self) -> list[str]:
        """The models that may be asked for: those that are here, and those that the server was told of."""
        from ...models import listing

        return [*self._further, *(one.id for one in listing() if one.cached and one.id not in self._further)]

    def loaded(self, model: str) -> bool:
        """Whether a model is in memory."""
        return any(held == model for held, _ in list(self._held))

    def close(self) -> None:
        """Let go of every model."""
        with self._lock:
            while self._held:
                self._held.popitem()[1].close()
