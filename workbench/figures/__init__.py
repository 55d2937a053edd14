"""Figures: described once, drawn with Plotly and with matplotlib."""

from .budget import MOST_POINTS, Pooled, max_pool
from .figure import Figure
from .save import load, save
from .spec import Axis, Bars, FigureSpec, Heatmap, Line, Mark, Panel, ReferenceLine, Scatter, Tokens, Violin
from .text import escape_whitespace

__all__ = [
    # the description
    "Figure",
    "FigureSpec",
    "Panel",
    "Axis",
    "Mark",
    "Heatmap",
    "Line",
    "Scatter",
    "Bars",
    "Violin",
    "ReferenceLine",
    "Tokens",
    # what fits, and how tokens are shown
    "MOST_POINTS",
    "Pooled",
    "max_pool",
    "escape_whitespace",
    # files
    "save",
    "load",
]
