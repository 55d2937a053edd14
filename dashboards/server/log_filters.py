"""What the server's log leaves out: that a tab was closed while it was being answered, which is no error."""

from __future__ import annotations

import logging
import traceback

from bokeh.server import connection
from tornado.websocket import WebSocketClosedError

_LOGGERS = ("asyncio", "tornado.application", "bokeh.server.protocol_handler", "bokeh.server.views.ws")
_UNSENT = "Failed sending message as connection was closed"


def keep_quiet_about_closed_tabs() -> None:
    """Leave tabs that were closed out of the log of this process."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_worth_saying)


def _worth_saying(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return not record.getMessage().startswith(_UNSENT)
    if isinstance(error, AssertionError):
        # Bokeh asserts that a connection has its session, which a tab that is closed at once never gets.
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        return frame.f_code.co_filename != connection.__file__
    return not isinstance(error, WebSocketClosedError)
