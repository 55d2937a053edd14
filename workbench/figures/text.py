"""How tokens and other hostile text are written into a figure."""

from __future__ import annotations

import html
import textwrap
import unicodedata

_SIGNS = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥", "": "∅"}
_HIDDEN = {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp", "Zs"}


def escape_whitespace(token: str) -> str:
    """A token with its spaces, newlines, control and direction signs made visible."""
    if not token:
        return _SIGNS[""]
    return "".join(
        _SIGNS.get(sign) or (f"\\u{ord(sign):04x}" if unicodedata.category(sign) in _HIDDEN else sign) for sign in token
    )


def escape_control(text: str) -> str:
    """A text with its line ends, control and direction signs made visible; its blanks stay blanks."""
    return " ".join(escape_whitespace(part) if part else "" for part in text.split(" ")) or _SIGNS[""]


def plotly_text(text: str) -> str:
    """Text that Plotly shows as it is: no tags, no formula between `$` signs, no `%{…}` template."""
    return html.escape(text, quote=False).replace("$", "&#36;").replace("%{", "&#37;{")


def shorten(text: str, longest: int) -> str:
    """The text, cut in the middle if it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    head = (longest - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def folded(text: str, width: int) -> list[str]:
    """The text on one or two lines of at most `width` characters; what does not fit is cut in the middle."""
    if len(text) <= width:
        return [text]
    lines = textwrap.wrap(shorten(text, 2 * width), width, break_long_words=True)
    return [*lines[:1], shorten(" ".join(lines[1:]), width)]


def plotly_label(text: str, longest: int) -> str:
    """A label for Plotly, cut where it would leave no room for the plot."""
    return plotly_text(shorten(text, longest))
