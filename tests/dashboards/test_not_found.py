"""Addresses that lead nowhere: status 404, what was asked as text, and the way on."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.chromium import free_port
from tests.dashboards.server.test_security import Ask, asking
from tests.sample_figures import HOSTILE
from tests.sample_runs import write_run
from workbench.dashboards import serve


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def there(runs: Path) -> str:
    return write_run(runs)


@pytest.fixture(scope="module", params=[False, True], ids=["", "read-only"])
def server(request: pytest.FixtureRequest, runs: Path, there: str) -> Iterator[tuple[Ask, bool]]:
    port = free_port()
    served = serve(runs, port=port, threaded=True, read_only=request.param)
    yield asking(port), request.param
    served.stop()


def body(answer: Any) -> str:
    return answer.body.decode()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nonsense", "There is no page <code>/nonsense</code>"),
        ("/nonsense/x/y", "There is no page <code>/nonsense/x/y</code>"),
        ("/run", "There is no page <code>/run</code>"),
        ("/run/none", "There is no run <code>none</code>"),
        ("/live/none", "There is no live view named <code>none</code>"),
        ("/run/..%2f..%2fetc", "There is no run <code>../../etc</code>"),
    ],
)
def test_it_says_what_was_asked_and_what_there_is(server: tuple[Ask, bool], path: str, said: str) -> None:
    ask, read_only = server
    answer = ask(path)
    assert answer.status == 404
    assert said in body(answer)
    assert '<a href="/">Home</a>' in body(answer)
    assert ("/probe/head-roles" in body(answer)) is not read_only
    assert ("/live/context-knob" in body(answer)) is path.startswith("/live")


def test_a_probe_that_there_is_not_and_one_that_cannot_be_started(server: tuple[Ask, bool]) -> None:
    ask, read_only = server
    said = "This server is read-only" if read_only else "There is no probe named <code>none</code>"
    assert ask("/probe/none").status == 404 and said in body(ask("/probe/none"))
    assert ask("/probe/head-roles").status == (404 if read_only else 200)


def test_what_there_is_is_still_found(server: tuple[Ask, bool], there: str) -> None:
    for path in ("/", "/compare", f"/run/{there}", "/live/context-knob"):
        assert server[0](path).status == 200


@pytest.mark.parametrize("path", ["/{}", "/run/{}", "/probe/{}", "/live/{}"])
def test_hostile_addresses_are_text(server: tuple[Ask, bool], path: str) -> None:
    answer = server[0](path.format(quote(HOSTILE, safe="")), Cookie='theme="</style><script>"')
    assert answer.status == 404
    assert "<img" not in body(answer) and "<script" not in body(answer)
    assert HOSTILE.split("\n")[0][:20] in html.unescape(body(answer))
