"""A figure on a page, drawn by Plotly just as notebooks and reports draw it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import param
from panel.custom import JSComponent

from ...figures import style
from ...figures.plotly import plotly_json

CLEAR = "rgba(0, 0, 0, 0)"


def _template(theme: str) -> dict[str, Any]:
    """The colours of a theme, on the page's own background."""
    template = style.template(theme)
    template["layout"] |= {"paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR}
    return template


TEMPLATES = {theme: _template(theme) for theme in ("light", "dark")}


class PlotlyPane(JSComponent):
    """A Plotly figure that follows the page's theme, is drawn when it comes into view, and tells of clicks."""

    spec = param.String(doc="data, layout, and what the figure shows for someone who cannot see it, as JSON")
    templates = param.Dict(default=TEMPLATES)

    _esm = Path(__file__).parent / "plotly_pane.js"

    def __init__(self, drawn: Any, alt: str, clicked: Callable[[Any], None] | None = None, **params: Any) -> None:
        self._clicked = clicked
        super().__init__(spec=spec_of(drawn, alt), sizing_mode="stretch_width", **params)

    def draw(self, drawn: Any, alt: str) -> None:
        """Show another figure in the same place."""
        self.spec = spec_of(drawn, alt)

    def _handle_msg(self, message: Any) -> None:
        if self._clicked is not None:
            self._clicked(message)


def spec_of(drawn: Any, alt: str) -> str:
    """What Plotly draws as JSON, without the template, which the page chooses."""
    layout = {name: value for name, value in drawn["layout"].items() if name != "template"}
    return plotly_json({"data": drawn["data"], "layout": layout, "alt": alt})
