"""What a notebook keeps of a figure."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from typing import Any

from .. import html_table
from ..html_table import Bundle
from .spec import FigureSpec

PLOTLY = "application/vnd.plotly.v1+json"
MOST_BYTES = 700_000
"""A notebook with an interactive figure larger than this keeps only the static one; a static one larger is a PNG."""


def bundle(figure: FigureSpec) -> dict[str, Any]:
    """The figure by MIME type: Plotly's JSON, SVG (or PNG) for GitHub and nbconvert, and text; below 1 MB together."""
    from . import matplotlib, plotly

    parts: dict[str, Any] = {"text/plain": str(figure)}
    picture = _named(matplotlib.svg(figure), figure.alt)
    if len(picture.encode()) < MOST_BYTES // 4:
        parts["image/svg+xml"] = picture
    else:
        parts["image/png"] = base64.b64encode(matplotlib.png(figure, dpi=110)).decode()
    spec = plotly.plotly_json(plotly.plotly_dict(figure))
    if len(spec.encode()) < MOST_BYTES:
        parts[PLOTLY] = json.loads(spec)
    return parts


def _named(picture: str, alt: str) -> str:
    """An SVG that tells someone who cannot see it what it shows, where it is part of a page."""
    return picture.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)


def listing(figures: Mapping[str, FigureSpec]) -> Bundle:
    """The figures of a run: name and title."""
    rows = ((name, figure.title) for name, figure in figures.items())
    return html_table.bundle("", table=[("figure", "what it shows"), *rows])
