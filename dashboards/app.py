"""Serve the pages, on this machine alone unless told otherwise."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import panel as pn
from tornado.ioloop import IOLoop, PeriodicCallback

from ..errors import UsageError
from .not_found import install_404, known_to
from .pages.compare import compare_page
from .pages.home import home
from .pages.live import live_page
from .pages.probe import probe_page
from .pages.run import run_page
from .server.job_queue import JobQueue
from .server.limits import Limits
from .server.log_filters import keep_quiet_about_closed_tabs
from .server.security import SECRET, check_users, restrict_origins
from .sessions import CONNECT_TIMEOUT, SessionLimit, SessionReaper

DEFAULT_PORT = 5006
_LOOK = 500
"""Milliseconds between two looks at which tabs are still open."""
_TEMPLATES = Path(__file__).parent / "templates"
_HOST = re.compile(r"[A-Za-z0-9.\-\[\]:_]+\Z")


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _free(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server itself does: without it a port that was used a moment ago reads as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise UsageError(f"cannot serve on {address}:{port}: {error.strerror}; give another with --port") from error


class Served:
    """A server that runs in a thread of its own until it is stopped."""

    def __init__(self, make: Callable[[IOLoop], Any], jobs: JobQueue | None) -> None:
        self.jobs = jobs
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(make,), name="pages", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed

    def _run(self, make: Callable[[IOLoop], Any]) -> None:
        self._loop = IOLoop(make_current=False)
        asyncio.set_event_loop(self._loop.asyncio_loop)
        try:
            self.server = make(self._loop)
            self.server.start()
        except BaseException as error:
            self._failed = error
            self._ready.set()
            return
        self._loop.add_callback(self._ready.set)
        self._loop.start()
        # A browser that keeps a connection would ask on it for ever, even of the next server at this address.
        self._loop.close(all_fds=True)

    def stop(self) -> None:
        """Stop answering, end every connection, cancel what runs, and wait for all of it."""
        if self._thread.is_alive():
            self._loop.add_callback(self._end)
            self._thread.join(10)
        if self.jobs is not None:
            self.jobs.close()

    def _end(self) -> None:
        self.server.stop(wait=False)
        self._loop.stop()


def serve(
    runs: str | os.PathLike[str] = "runs",
    port: int = DEFAULT_PORT,
    address: str = "127.0.0.1",
    threaded: bool = False,
    started: Callable[[str], None] = lambda url: None,
    *,
    read_only: bool = False,
    auth: str | os.PathLike[str] | None = None,
    hosts: Sequence[str] = (),
    models: Sequence[str] = (),
    limits: Limits | None = None,
    frames: Sequence[str] = (),
) -> Any:
    """Serve the runs of a folder as pages, and probes to start, and return when the server is stopped.

    With `read_only` no probe can be started, no model is loaded and no note is added. `auth` is a JSON file of names
    and passwords, `hosts` are further names (`name:port`) under which the pages are asked for, `models` further models
    to choose. `frames` are origins whose pages may show these in a frame, as a notebook's does.
    With `threaded`, return the running server instead. `started` is told the address to open.
    Raises `UsageError` for an address that other machines reach without `auth`, or a port that is taken.
    """
    if not is_loopback(address) and auth is None:
        raise UsageError(
            f"{address} can be reached by other machines, and anyone there could use these pages; "
            "give --auth FILE with names and passwords, or leave --address out"
        )
    if not 0 < port < 65536:
        raise UsageError(f"{port} is not a port; give a number from 1 to 65535 with --port")
    if wrong := [host for host in hosts if not _HOST.match(host)]:
        raise UsageError(f"{wrong[0]!r} is not a host; write name:port, as the browser's address line shows it")
    users = None if auth is None else check_users(Path(auth))
    _free(address, port)
    name = f"[{address}]" if ":" in address else address
    known = [f"{name}:{port}", *hosts, *([f"localhost:{port}"] if is_loopback(address) else [])]
    folder, asked = Path(runs), limits or Limits()
    jobs = None if read_only else JobQueue(folder, asked, models)
    visitors = SessionLimit(asked.visitors)
    pn.extension("plotly")
    keep_quiet_about_closed_tabs()
    # Panel calls functions anew for each visitor, but would show a partial as a value.
    pages: dict[str, Any] = {"/": lambda: visitors.admit(lambda: home(folder, jobs))}
    pages["compare"] = lambda: visitors.admit(lambda: compare_page(folder))
    pages["run/{run_id}"] = lambda: visitors.admit(lambda: run_page(folder, writable=not read_only))
    pages["live/{name}"] = lambda: visitors.admit(lambda: live_page(jobs))
    if jobs is not None:
        pages["probe/{name}"] = lambda: visitors.admit(lambda: probe_page(jobs))

    def make(loop: IOLoop | None) -> Any:
        secured: dict[str, Any] = {}
        if users is not None:
            secured = {
                "basic_auth": str(users),
                "cookie_secret": os.environ[SECRET],
                "login_template": str(_TEMPLATES / "login.html"),
            }
        # A connection that waits for its next request holds the page that was made on it, by default for an hour.
        server = pn.io.server.get_server(
            pages,
            port=port,
            address=address,
            loop=loop,
            websocket_origin=known,
            title="Workbench",
            check_unused_sessions_milliseconds=1_000,
            unused_session_lifetime_milliseconds=int(1000 * max(CONNECT_TIMEOUT, asked.absence)),
            websocket_max_message_size=2 * asked.upload_bytes + 1_000_000,
            http_server_kwargs={"idle_connection_timeout": asked.absence},
            **secured,
        )
        install_404(server._tornado, known_to(folder, read_only), folder, read_only)
        restrict_origins(server._tornado, known, frames)
        departures = SessionReaper(server, asked.absence)
        server.io_loop.add_callback(lambda: PeriodicCallback(departures.look, _LOOK).start())
        return server

    if threaded:
        served = Served(make, jobs)
        started(f"http://{name}:{port}")
        return served
    server = make(None)
    started(f"http://{name}:{port}")
    try:
        server.start()
        server.io_loop.start()
    finally:
        if jobs is not None:
            jobs.close()
    return server
