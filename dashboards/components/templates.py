"""Words and tables on a page: the one way in which a text of a user or of a model reaches it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel as pn
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from ... import formatting
from ...records import comparison, describe

# What a report draws of a headline, a page draws too.
_LOADER = ChoiceLoader(
    [PackageLoader("workbench.dashboards", "templates"), PackageLoader("workbench.reports", "templates")]
)
_TEMPLATES = Environment(
    loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters.update(
    {
        **{name: getattr(formatting, name) for name in ("byte_size", "duration")},
        **{name: getattr(describe, name) for name in ("number", "control")},
        "change": comparison.change,
        "safe": formatting.strip_control,  # Jinja's own would let a text through as HTML
    }
)
_TEMPLATES.filters["cell"] = lambda value: (
    f"{value:.4g}" if isinstance(value, float) and value == value else "" if value is None or value != value else value
)
PAGE_STYLE = (Path(__file__).parents[1] / "templates" / "page.css").read_text(encoding="utf-8")
"""The looks of all that is made from templates."""


def html_pane(template: str, style: str = "", **values: Any) -> pn.pane.HTML:
    """A pane drawn from a template of this folder, in which every value is escaped; `style` is further CSS."""
    made = render(template, **values)
    return pn.pane.HTML(made, sizing_mode="stretch_width", stylesheets=[PAGE_STYLE, *([style] if style else [])])


def render(template: str, **values: Any) -> str:
    """The HTML of a template of this folder, in which every value is escaped; for a pane that shows another one."""
    return _TEMPLATES.get_template(template).render(values)
