"""A server on which probes can be started, and how a test opens its pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.asking.hands import MODEL, Visit
from tests.chromium import choose, shared_port
from tests.dashboards import slow_probe
from workbench.dashboards import serve
from workbench.dashboards.server.limits import Limits


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server on which probes can be started; `address` and `runs` say where it is."""
    slow_probe.register()
    runs, port = tmp_path_factory.mktemp("runs") / "runs", shared_port()
    served = serve(runs, port=port, threaded=True, limits=Limits(absence=2, memory=2_000_000_000, own=2))
    served.address, served.runs = f"http://127.0.0.1:{port}", runs
    yield served
    served.stop()
    slow_probe.forget()


@pytest.fixture
def visit(server: Any, open_page: Callable[..., Any]) -> Visit:
    """Opens a page of the server and waits until its heading, or the button to start, is there."""

    def visited(path: str, model: str = MODEL, **options: Any) -> Any:
        watched = open_page(
            server.address + path, allowed=(server.address, server.address.replace("http", "ws"), "blob:"), **options
        )
        watched.page.set_default_timeout(20_000)
        watched.page.locator("h1").first.wait_for(timeout=60_000)
        if path.startswith("/probe/slow"):
            watched.page.get_by_role("button", name=re.compile("Start|Go on")).wait_for(timeout=60_000)
            if "resume" not in path and model:
                choose(watched.page, "Model", model)
        return watched

    return visited
