"""What every page does in the browser beyond its own content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent

_HERE = Path(__file__).parent
_NOWHERE: dict[str, Any] = {"width": 0, "height": 0, "margin": 0}


class Theme(JSComponent):
    """Keeps a page light or dark as the visitor chose on any page before, or as their system asks."""

    dark = param.Boolean(default=False)

    _esm = _HERE / "theme.js"


class EchoFilter(JSComponent):
    """Keeps the browser from sending back what the server has just sent."""

    _esm = _HERE / "received.js"


def prefers_dark() -> bool:
    """Whether the visitor chose the dark theme on a page before."""
    return (pn.state.cookies or {}).get("theme") == "dark"


def page_scripts(page: Any) -> list[Any]:
    """What a page holds unseen; the page's theme and the visitor's choice follow each other."""
    theme = Theme(dark=page.dark_theme, **_NOWHERE)
    theme.param.watch(lambda event: page.param.update(dark_theme=event.new), "dark")
    page.param.watch(lambda event: theme.param.update(dark=event.new), "dark_theme")
    return [theme, EchoFilter(**_NOWHERE)]
