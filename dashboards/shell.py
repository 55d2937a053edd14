"""What every page has around it: title, theme, and the way back."""

from __future__ import annotations

from typing import Any

import panel_material_ui as pmu

THEME = {
    "palette": {"primary": {"main": "#0b5a8f"}},
    "typography": {"fontFamily": 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'},
}


def page(title: str, *main: Any) -> pmu.Page:
    """A page with these parts below each other; a title may be any text."""
    return pmu.Page(
        title=title,
        main=[pmu.Container(*main, width_option="lg", sizing_mode="stretch_width")],
        theme_config={"light": THEME, "dark": THEME},
        site_url="/",
    )
