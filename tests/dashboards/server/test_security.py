"""Who is answered and how: hosts, origins, headers, passwords and limits, with real requests."""

from __future__ import annotations

import http.client
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chromium import free_port
from workbench.dashboards import serve
from workbench.dashboards.server.security import HEADERS, SECRET, check_users
from workbench.errors import UsageError

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
    "Sec-WebSocket-Protocol": "bokeh, token",
}
Ask = Callable[..., http.client.HTTPResponse]


def asking(port: int) -> Ask:
    """Sends one request with exactly these headers."""

    def ask(path: str = "/", method: str = "GET", body: str | None = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        answer.body = b"" if answer.status == 101 else answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer

    return ask


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server over an empty folder, read only, which knows one more name."""
    chosen = free_port()
    server = serve(
        tmp_path_factory.mktemp("runs"),
        port=chosen,
        threaded=True,
        read_only=True,
        hosts=["bench.example:443"],
    )
    yield chosen
    server.stop()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", "[::1]:{port}", ""]
)
@pytest.mark.parametrize("path", ["/", "/run/x", "/ws", "/static/js/bokeh.min.js", "/nowhere"])
def test_another_host_is_refused_everywhere(port: int, host: str, path: str) -> None:
    assert asking(port)(path, Host=host.format(port=port)).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "bench.example:443"])
def test_its_own_names_are_answered(port: int, host: str) -> None:
    assert asking(port)("/static/js/bokeh.min.js", Host=host.format(port=port)).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_pages_of_another_origin_are_refused(port: int, origin: str) -> None:
    ask = asking(port)
    assert ask("/static/js/bokeh.min.js", Origin=origin).status == 403
    assert (
        ask("/ws", Origin=origin, **{name.replace("-", "_"): value for name, value in WEBSOCKET.items()}).status == 403
    )
    assert ask("/static/js/bokeh.min.js", Origin=f"http://127.0.0.1:{port}").status == 200


@pytest.mark.parametrize("path", ["/static/js/bokeh.min.js", "/nowhere", "/"])
def test_every_answer_has_the_headers(port: int, path: str) -> None:
    answer = asking(port)(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["Server"] is None
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_no_page_names_another_host(port: int) -> None:
    body = asking(port)("/").body.decode()  # type: ignore[attr-defined]
    linked = re.findall(r"""(?:src|href)=["'](?:https?:)?//([^/"']+)""", body)
    assert set(linked) <= {f"127.0.0.1:{port}"}


@pytest.mark.parametrize("path", ["/run/..%2f..%2fetc%2fpasswd", "/static/..%2f..%2fetc/passwd", "/.texts/x", "/runs"])
def test_no_path_leads_out(port: int, path: str) -> None:
    answer = asking(port)(path)
    assert b"root:" not in answer.body  # type: ignore[attr-defined]


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one user that can be used."""
    monkeypatch.setenv(SECRET, "s" * 32)
    path = tmp_path / "users.json"
    path.write_text('{"ada": "a long password"}')
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "does not map"),
        ("{}", "does not map"),
        ('{"ada": ""}', "does not map"),
        (None, "No such"),
    ],
)
def test_a_file_of_users_that_cannot_be_used_is_said(users: Path, content: str | None, said: str) -> None:
    if content is None:
        users.unlink()
    else:
        users.write_text(content)
    with pytest.raises(UsageError, match=said):
        check_users(users)


def test_passwords_that_others_can_read_and_a_missing_secret_are_refused(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_users(users) == users
    users.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        check_users(users)
    users.chmod(0o600)
    for secret in ("", "short"):
        monkeypatch.setenv(SECRET, secret)
        with pytest.raises(UsageError, match=f"at least 32 signs in the environment variable {SECRET}"):
            serve(users.parent, port=free_port(), auth=users)


def test_without_a_password_nothing_is_shown(users: Path, tmp_path: Path) -> None:
    port = free_port()
    server = serve(tmp_path / "runs", port=port, threaded=True, read_only=True, auth=users)
    try:
        ask = asking(port)
        for path in ("/", "/run/x", "/nowhere"):
            answer = ask(path)
            assert answer.status == 302 and answer.headers["Location"].startswith("/login?next=")
        refused = ask("/ws", **{name.replace("-", "_"): value for name, value in WEBSOCKET.items()})
        assert refused.status in (401, 403)
        page = ask("/login?error=%3Cscript%3Ealert(1)%3C/script%3E").body.decode()  # type: ignore[attr-defined]
        assert "<script" not in page and "&lt;script&gt;" in page and "//" not in page
        assert ask("/login", Host="evil.example").status == 403

        def sign_in(password: str) -> http.client.HTTPResponse:
            form = urllib.parse.urlencode({"username": "ada", "password": password})
            return ask("/login", "POST", form, Content_Type="application/x-www-form-urlencoded")

        assert "error" in sign_in("wrong").headers["Location"]
        welcome = sign_in("a long password")
        cookies = "; ".join(line.split(";")[0] for line in welcome.headers.get_all("Set-Cookie"))
        assert all("HttpOnly" in line for line in welcome.headers.get_all("Set-Cookie") if line.startswith("user="))
        assert ask("/", Cookie=cookies).status == 200
        assert ask("/run/x", Cookie=cookies).status == 404
        assert ask("/", Cookie="user=ada").status == 302
    finally:
        server.stop()


def test_an_open_address_needs_passwords(tmp_path: Path, users: Path) -> None:
    with pytest.raises(UsageError, match="--auth FILE"):
        serve(tmp_path, port=free_port(), address="0.0.0.0")
    port = free_port()
    server = serve(tmp_path, port=port, address="0.0.0.0", threaded=True, read_only=True, auth=users, hosts=["a.b:80"])
    try:
        assert asking(port)("/").status == 403
        assert asking(port)("/", Host="a.b:80").status == 302
    finally:
        server.stop()


@pytest.mark.parametrize("host", ["a b", "http://x", "x/y", ""])
def test_what_is_no_host_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match="not a host"):
        serve(tmp_path, port=free_port(), hosts=[host])
