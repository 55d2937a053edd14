"""How many visit at once, and what happens when one leaves."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import panel as pn

from .components.layout import page
from .components.templates import html_pane
from .server.session_start import apply_before_onload


class SessionLimit:
    """Counts open tabs and turns away those beyond the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._here: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._here)

    def admit(self, draw: Callable[[], Any]) -> Any:
        """The page for one more visitor, or a page that says it is full."""
        visitor = secrets.token_hex(8)
        with self._lock:
            full = len(self._here) >= self._limit
            if not full:
                self._here.add(visitor)
        if full:
            return page("Workbench", html_pane("full.html", limit=self._limit))
        pn.state.on_session_destroyed(lambda context: self._here.discard(visitor))
        apply_before_onload()
        made = draw()
        pn.state.on_session_destroyed(lambda context: _let_go(made))
        return made


def _let_go(made: Any) -> None:
    """End the link of a page to what all sessions share, whether the server is busy: it would keep the page."""
    for watcher in list(pn.state.param.watchers.get("busy", {}).get("value", [])):
        if getattr(getattr(watcher.fn, "__self__", None), "self", None) is made:
            pn.state.param.unwatch(watcher)


CONNECT_TIMEOUT = 30.0
"""Seconds in which a browser that asked for a page must connect; a page made anew later would lack its styles."""


class SessionReaper:
    """Ends the sessions of tabs that were open and have been closed for some seconds."""

    def __init__(self, server: Any, seconds: float) -> None:
        self._server, self._seconds = server, seconds
        self._arrived: WeakSet[Any] = WeakSet()

    def look(self) -> None:
        """Look once at every session; to be called again and again in the server's own loop."""
        for session in self._server.get_sessions():
            if session.connection_count:
                self._arrived.add(session)
            elif session in self._arrived and session.milliseconds_since_last_unsubscribe > 1000 * self._seconds:
                session.request_expiration()
