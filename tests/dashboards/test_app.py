"""What is left of a server that was stopped: nothing."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from tests.chromium import free_port
from workbench.dashboards import serve


def test_a_stopped_server_ends_the_connections_it_kept(tmp_path: Path) -> None:
    port = free_port()
    server = serve(tmp_path, port=port, threaded=True, read_only=True)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(2):  # the second asks on the connection of the first
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.read() and answer.status == 200
    kept = connection.sock
    server.stop()
    assert kept is not None and kept.recv(1) == b""
    with pytest.raises(ConnectionError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=10).request("GET", "/")
