"""The answer to an address that leads nowhere: what was asked, what there is, and the way home."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from panel.io.server import LoginUrlMixin
from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, authenticated

from ..probe.registry import PROBES
from ..records import store
from .components.templates import render
from .pages.live import probes_with_live_view

Known = Mapping[str, Callable[[str], bool]]
"""Whether there is a thing of a name, by the first word of its address."""


def known_to(runs: Path, read_only: bool) -> Known:
    """What the addresses of a server can name."""
    return {
        "run": lambda name: store.has_run(runs, name),
        "probe": lambda name: not read_only and name in PROBES.names(),
        "live": lambda name: name in probes_with_live_view(),
    }


def install_404(application: Application, known: Known, runs: Path, read_only: bool) -> None:
    """Answer every address that leads nowhere with a page of its own and status 404."""
    given = {"runs": runs, "read_only": read_only}
    application.settings["default_handler_class"] = _Unknown
    application.settings["default_handler_args"] = given
    application.default_router.rules.insert(0, Rule(_Nameless(known), _Unknown, given))


def _named(path: str) -> tuple[str, str]:
    """The first word of an address and the name after it; both empty if it has no such form."""
    _, kind, name, *_ = [*path.split("/"), "", ""]
    return (kind, unquote(name)) if name else ("", "")


class _Nameless(Matcher):
    """Matches the address of a run, a probe or a live view that there is not."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        kind, name = _named(request.path)
        return {} if kind in self._known and not self._known[kind](name) else None


class _Unknown(LoginUrlMixin, AuthRequestHandler):
    """Behind a password where the pages are: it names what there is."""

    def initialize(self, runs: Path, read_only: bool) -> None:
        self._runs, self._read_only = runs, read_only

    @authenticated
    def get(self) -> None:
        kind, name = _named(self.request.path)
        ways = {"Home": "/", "Compare runs": "/compare"}
        if not self._read_only:
            ways |= {f"Probe {each}": f"/probe/{quote(each)}" for each in PROBES.names()}
        if kind == "live":  # which probes have one is known once all are loaded
            ways |= {f"Live {each}": f"/live/{quote(each)}" for each in probes_with_live_view()}
        self.set_status(404)
        self.finish(
            render(
                "unknown.html",
                dark=self.get_cookie("theme", ""),
                asked=unquote(self.request.path),
                kind=kind,
                name=name,
                folder=str(self._runs),
                read_only=self._read_only,
                ways=ways,
            )
        )
