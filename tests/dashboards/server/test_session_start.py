"""What the server tells while a browser says its first words comes in the order in which it was told."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import panel as pn
from bokeh.document import Document
from panel.io.state import set_curdoc

from workbench.dashboards.server.session_start import apply_before_onload


def test_what_was_put_off_comes_before_what_is_told_after_it() -> None:
    document = Document()
    told: list[str] = []
    document._session_context = Mock(return_value=Mock())
    # the server's loop runs what is put off in this order; the document alone keeps it in none
    put_off: list[Callable[[], None]] = []
    document.add_next_tick_callback = put_off.append  # type: ignore[method-assign,assignment]

    def tell(what: str) -> None:
        if pn.state._connected.get(document):
            told.append(what)
        else:
            document.add_next_tick_callback(lambda: told.append(what))

    with set_curdoc(document):
        apply_before_onload()
        tell("busy")
        pn.state.browser_info.dark_mode = True
        tell("no longer busy")
        for callback in put_off:
            callback()
        assert told == ["busy", "no longer busy"]
        tell("at once")
        assert told[-1] == "at once"
