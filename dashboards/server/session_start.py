"""What a visitor does as soon as a page is there, before their browser has come to rest."""

from __future__ import annotations

import panel as pn


def apply_before_onload() -> None:
    """Let the page that is being made answer from the first words of its browser on.

    Panel waits until the browser is idle, which takes a second, and drops what changes on a page before that as if the
    page were still to be sent (since its pull request 8698). A browser tells about itself once it has the page.
    """
    document, browser, loaded = pn.state.curdoc, pn.state.browser_info, getattr(pn.state, "_on_load", None)
    if document is not None and browser is not None and loaded is not None:
        # Not at once: that the server is busy with these words is told late, else after that it is done.
        browser.param.watch(
            lambda *events: document.add_next_tick_callback(lambda: loaded(document)), list(browser.param)
        )
