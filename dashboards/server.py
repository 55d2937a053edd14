"""Serve the pages, on this machine alone unless told otherwise."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn

from ..errors import UsageError
from .home import home
from .run_page import run_page

DEFAULT_PORT = 5006


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


def serve(
    runs: str | os.PathLike[str] = "runs",
    port: int = DEFAULT_PORT,
    address: str = "127.0.0.1",
    threaded: bool = False,
    started: Callable[[str], None] = lambda url: None,
) -> Any:
    """Serve the runs of a folder as pages, read only, and return when the server is stopped.

    With `threaded`, return the running server instead. `started` is told the address to open.
    Raises `UsageError` for an address that other machines reach, or a port that is taken.
    """
    if not is_loopback(address):
        raise UsageError(
            f"{address} can be reached by other machines and these pages ask nobody who they are; leave --address out"
        )
    if not 0 < port < 65536:
        raise UsageError(f"{port} is not a port; give a number from 1 to 65535 with --port")
    _free(address, port)
    host = f"[{address}]" if ":" in address else address
    pn.extension("plotly", notifications=True)
    folder = Path(runs)
    started(f"http://{host}:{port}")
    return pn.serve(
        # Panel calls functions anew for each visitor, but would show a partial as a value.
        {"/": lambda: home(folder), "run/{run_id}": lambda: run_page(folder)},
        port=port,
        address=address,
        websocket_origin=[f"{host}:{port}", f"localhost:{port}"],
        show=False,
        verbose=False,
        threaded=threaded,
        title="Workbench",
    )
