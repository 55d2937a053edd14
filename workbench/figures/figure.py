"""A figure: what it says, and how it is drawn with Plotly and with matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .spec import FigureSpec

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Figure(FigureSpec):
    """A picture of a result: the notebook, the page and the report all draw this description.

    >>> from workbench.figures import Axis, Figure, Line, Panel
    >>> panel = Panel([Line([1, 2, 3], [0.2, 0.5, 0.4], label="recall")], Axis("heads"), Axis("share"))
    >>> figure = Figure("recall", "Recall over heads", [panel], "One line.", "A line that rises and falls.")
    >>> len(figure.data), Figure.from_json(figure.to_json()) == figure
    (3, True)
    """

    def plotly(self, theme: Literal["light", "dark"] = "light", title: bool = True) -> go.Figure:
        """The interactive figure; without `title` where the page around it says it already."""
        from .plotly import draw

        return draw(self, theme, title)

    def matplotlib(self, theme: Literal["light", "dark"] = "light", title: bool = True) -> Drawing:
        """The static figure; without `title` where the page around it says it already."""
        from .matplotlib import draw

        return draw(self, theme, title)

    @property
    def data(self) -> pd.DataFrame:
        """The numbers that are drawn, one a row."""
        from .table import frame

        return frame(self)

    def to_json(self) -> str:
        """The description as JSON; `from_json` reads it back exactly."""
        from .codec import dumps

        return dumps(self)

    @staticmethod
    def from_json(text: str) -> Figure:
        """The figure that `to_json` wrote; `UsageError` if the text is none."""
        from .codec import loads

        return Figure(**vars(loads(text)))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows and keeps: interactive where Plotly runs, the same as SVG where no script runs."""
        from .mime import bundle

        return bundle(self)
