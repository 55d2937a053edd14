"""A tab that was closed is no error in the server's log; everything else is."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from bokeh.server.connection import ServerConnection
from tornado.websocket import WebSocketClosedError

from workbench.dashboards.server.log_filters import keep_quiet_about_closed_tabs

LOGGER = "bokeh.server.protocol_handler"


def bokehs_assertion() -> None:
    ServerConnection.session.fget(SimpleNamespace(_session=None))


def own_assertion() -> None:
    raise AssertionError("a defect of these pages")


def closed() -> None:
    raise WebSocketClosedError


@pytest.mark.parametrize(("fails", "said"), [(bokehs_assertion, False), (closed, False), (own_assertion, True)])
def test_what_a_closed_tab_raises_is_left_out(fails, said: bool, caplog: pytest.LogCaptureFixture) -> None:
    keep_quiet_about_closed_tabs()
    try:
        fails()
    except Exception:
        logging.getLogger(LOGGER).exception("error handling message")
    assert bool(caplog.records) == said


def test_what_could_not_be_sent_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    keep_quiet_about_closed_tabs()
    logger = logging.getLogger("bokeh.server.views.ws")
    logger.warning("Failed sending message as connection was closed")
    logger.warning("Something else")
    assert [record.getMessage() for record in caplog.records] == ["Something else"]
