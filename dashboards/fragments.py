"""Words and tables on a page: the one way in which a text of a user or of a model reaches it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel as pn
from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import words

_LOADER = PackageLoader(__package__, "templates")
_TEMPLATES = Environment(
    loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters.update({name: getattr(words, name) for name in ("number", "control", "size", "clock", "safe")})
_TEMPLATES.filters["cell"] = lambda value: (
    f"{value:.4g}" if isinstance(value, float) and value == value else "" if value is None or value != value else value
)
_STYLE = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")


def fragment(template: str, **values: Any) -> pn.pane.HTML:
    """A pane drawn from a template of this folder, in which every value is escaped."""
    made = _TEMPLATES.get_template(template).render(values)
    return pn.pane.HTML(made, sizing_mode="stretch_width", stylesheets=[_STYLE])
