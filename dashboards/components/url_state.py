"""The address of a page as a link to what it shows, with the browser's back and forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import param
from panel.custom import JSComponent


class UrlState(JSComponent):
    """The query part of the address; it takes no room, and works while it is on the page."""

    search = param.String(doc="the query part, with its question mark")

    _esm = Path(__file__).parent / "url_state.js"

    def __init__(self, search: str, returned: Callable[[str], None], **params: Any) -> None:
        super().__init__(search=search, width=0, height=0, margin=0, **params)
        self._returned, self._own = returned, search
        self.param.watch(lambda event: self._told(event.new), "search")

    def write(self, values: Mapping[str, int]) -> None:
        """Make the address a link to these values, as a new entry of the browser's history."""
        self._own = "?" + urlencode(values)
        self.search = self._own

    def _told(self, search: str) -> None:
        """The reader went back or forward, unless this is what was written."""
        if search != self._own:
            self._own = search
            self._returned(search)
