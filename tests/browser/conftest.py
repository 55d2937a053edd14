"""How tests look at the pages: each file starts a server and says its `address`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

expect.set_options(timeout=60_000)
"""Milliseconds; a machine with other work is slow, and a test that passes waits no longer than it must."""


@pytest.fixture(autouse=True)
def the_server_has_no_complaint(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test during which the server logged an error: the page it spoils may look whole to the test."""
    yield
    wrong = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def address(viewed: dict[str, Any]) -> Iterator[str]:
    """A server over the runs of organisms and a very long one, where a file does not start one of its own."""
    from tests.chromium import shared_port
    from workbench.dashboards import serve

    port = shared_port()
    server = serve(viewed["folder"], port=port, threaded=True)
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def visit(address: str, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Opens a page of the server and waits until its heading is there."""

    def visited(path: str, **options: Any) -> Any:
        watched = open_page(address + path, allowed=(address, address.replace("http", "ws"), "blob:"), **options)
        watched.page.locator("h1").first.wait_for(timeout=60_000)
        return watched

    return visited
