"""What every page has around it: title, theme, and the way back."""

from __future__ import annotations

from typing import Any

import panel_material_ui as pmu

from .page_scripts import page_scripts, prefers_dark

_BLUE = "#0b5a8f"
_FONTS = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'


def _theme(primary: str) -> dict[str, Any]:
    bar: dict[str, Any] = {
        "backgroundColor": f"{_BLUE} !important",
        "backgroundImage": "none",
        "color": "#fff !important",
    }
    # The bar of a busy server is see-through while it rests, and would still be read out.
    bar["& .MuiLinearProgress-determinate"] = {"visibility": "hidden"}
    return {
        "palette": {"primary": {"main": primary}},
        "typography": {"fontFamily": _FONTS},
        "components": {"MuiAppBar": {"styleOverrides": {"root": bar}}},
    }


LIGHT, DARK = _theme(_BLUE), _theme("#58aee6")
"""What can be pressed is as dark or light as its ground asks for; the bar on top is the same on both."""


def page(title: str, *main: Any) -> pmu.Page:
    """A page with these parts below each other; a title may be any text."""
    body = pmu.Container(*main, width_option="lg", sizing_mode="stretch_width")
    made = pmu.Page(
        title=title,
        main=[body],
        theme_config={"light": LIGHT, "dark": DARK},
        dark_theme=prefers_dark(),
        site_url="/",
    )
    body.extend(page_scripts(made))
    return made
