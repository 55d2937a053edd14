"""Who may ask for the pages and how: hosts and origins, headers of every answer, and passwords."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, OutputTransform, RequestHandler

from ...errors import UsageError

SECRET = "PANEL_COOKIE_SECRET"
"""The environment variable with the text that signs the cookies of visitors who gave their password."""
_SHORTEST_SECRET = 32

HEADERS = {
    # Panel draws with code that it makes in the browser (unsafe-eval, blob:) and puts styles into elements. What the
    # policy does forbid is the rest of the network, frames around the pages, and forms that go elsewhere.
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self' blob: data:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class _Foreign(Matcher):
    """Matches a request for another host, or one that a page of another origin makes."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = {host.lower() for host in hosts}

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        origin = request.headers.get("Origin")
        known = request.host.lower() in self._hosts
        if known and (origin is None or urlsplit(origin).netloc.lower() in self._hosts):
            return None
        return {}


class _Refusal(RequestHandler):
    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("These pages are not served under this name, or not to pages of another site.\n")


def _headers(frames: Sequence[str]) -> type[OutputTransform]:
    """Adds the headers above to every answer; pages of the origins in `frames` may show these pages in a frame."""
    added = dict(HEADERS)
    if frames:
        added["Content-Security-Policy"] = added["Content-Security-Policy"].replace(
            "frame-ancestors 'none'", f"frame-ancestors {' '.join(frames)}"
        )
        del added["X-Frame-Options"]

    class Headers(OutputTransform):
        def transform_first_chunk(
            self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
        ) -> tuple[int, HTTPHeaders, bytes]:
            for name, value in added.items():
                headers[name] = value
            # Panel writes this beside the page that was asked for, where that of a run would ask for a run named login.
            if (goal := headers.get("Location", "")).startswith("./login"):
                headers["Location"] = goal.removeprefix(".")
            # Which version of which server answers helps nobody else.
            headers.pop("Server", None)
            return status_code, headers, chunk

    return Headers


def restrict_origins(application: Application, hosts: Sequence[str], frames: Sequence[str] = ()) -> None:
    """Answer only requests for these hosts (`name:port`) from pages of these hosts, each with the headers above.

    This holds for every address of the application, websockets and files included. No other page may show these pages
    in a frame but those of the origins in `frames`.
    """
    application.default_router.rules.insert(0, Rule(_Foreign(hosts), _Refusal))
    application.transforms.append(_headers(frames))


def check_users(path: Path) -> Path:
    """The file of users and passwords, if it can be used and cookies can be signed.

    Raises `UsageError` if the file is no JSON object of texts or others can read it, and if there is no cookie secret.
    """
    try:
        mode = path.stat().st_mode
        users = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--auth {path}: {error.strerror}; {_EXAMPLE}") from None
    except ValueError:
        raise UsageError(f"--auth {path} is not JSON; {_EXAMPLE}") from None
    if not isinstance(users, dict) or not users or not all(_usable(*pair) for pair in users.items()):
        raise UsageError(f"--auth {path} does not map names to passwords; {_EXAMPLE}")
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"--auth {path} can be read by other users of this machine; run `chmod 600 {path}`")
    if len(os.environ.get(SECRET, "")) < _SHORTEST_SECRET:
        raise UsageError(
            f"--auth needs a secret of at least {_SHORTEST_SECRET} signs in the environment variable {SECRET}: "
            f"export {SECRET}=$(python -c 'import secrets; print(secrets.token_hex(32))')"
        )
    return path


_EXAMPLE = 'give a file such as {"ada": "a long password"}'


def _usable(name: object, password: object) -> bool:
    return isinstance(name, str) and bool(name) and isinstance(password, str) and bool(password)
