"""Figures: described once, drawn with Plotly and with matplotlib."""

from .budget import MOST_POINTS, Pooled, pool
from .figure import Axis, Bars, Figure, Heatmap, Line, Mark, Panel, Points, Rule, Tokens, Violins
from .save import load, save
from .text import visible

__all__ = [
    # the description
    "Figure",
    "Panel",
    "Axis",
    "Mark",
    "Heatmap",
    "Line",
    "Points",
    "Bars",
    "Violins",
    "Rule",
    "Tokens",
    # what fits, and how tokens are shown
    "MOST_POINTS",
    "Pooled",
    "pool",
    "visible",
    # files
    "save",
    "load",
]
