"""What the tokens of a window look at and what looks at them, shown where one points or goes by keyboard."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import param
from panel.custom import JSComponent

from ...figures import escape_whitespace
from ...probe.explore import LongText
from .templates import PAGE_STYLE, render

MOST = 1_000
"""Links that are sent to the browser with a window; beyond it the lightest are left out, and the page says so."""
_LETTERS = 20


class LinkedTokens(JSComponent):
    """A window of a text, in which a token shows its links when it is pointed at, clicked, or reached by arrow keys."""

    spec = param.String(doc="the HTML of the window, its links, and the words at their ends, as JSON")

    _esm = Path(__file__).parent / "token_links.js"

    def __init__(self, shown: Mapping[str, Any], style: str, **params: Any) -> None:
        sheets = [PAGE_STYLE, style]
        super().__init__(spec=_spec(shown), sizing_mode="stretch_width", stylesheets=sheets, **params)

    def draw(self, shown: Mapping[str, Any]) -> None:
        """Show another window in the same place."""
        self.spec = _spec(shown)


def _spec(shown: Mapping[str, Any]) -> str:
    made = {name: shown[name] for name in ("start", "looks", "words")}
    return json.dumps(made | {"html": render("tokens.html", **shown)})


def links_within(text: LongText, start: int, end: int) -> dict[str, Any]:
    """The links that begin or end in a window, the words at their ends, and how many there are in all."""
    inside = range(start, end)
    found = [
        (float(weight), query, key)
        for query, links in text.looks.items()
        for key, weight in links
        if query in inside or key in inside
    ]
    looks: dict[int, list[tuple[int, float]]] = {}
    for weight, query, key in heapq.nlargest(MOST, found):
        looks.setdefault(query, []).append((key, float(f"{weight:.3g}")))
    places = {*looks, *(key for links in looks.values() for key, _ in links)}
    words = {place: word(str(text.tokens[place])) for place in sorted(places)}
    return {"looks": looks, "words": words, "sent": min(len(found), MOST), "links": len(found)}


def readable(token: str) -> str:
    """A token in running text: its blanks stay blanks, unless there is nothing else to see."""
    shown = escape_whitespace(token)
    return shown.replace("␣", " ") if token.strip() else shown


def word(token: str) -> str:
    """A token on a button or in a sentence."""
    shown = readable(token).strip()
    return shown if len(shown) <= _LETTERS else shown[: _LETTERS - 1] + "…"
