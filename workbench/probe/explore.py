"""What a reader can choose in a finished run, and what is shown of the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnknownName, UsageError
from ..html_table import bundle

if TYPE_CHECKING:
    from ..figures import Figure


@dataclass(frozen=True)
class SelectableDim:
    """One thing that a reader chooses to see more of a run: a layer, a head, a text, a needle."""

    name: str
    """One small word. It is the keyword of `Run.details`, the word in a page's address, and what `Axis.dim` or
    `Scatter.dims` name where a click on a figure chooses it."""
    values: Sequence[int]
    first: int
    """What is shown until somebody chooses."""
    labels: Sequence[str] | None = None
    """What the values are called, where their number says too little; any text."""
    figure: str = ""
    """The figure of the details that it stands beside, if it changes that one alone."""

    def number(self, value: int | str) -> int:
        """A value, which may be given by its label.

        Raises `UnknownName` for a label that there is not, or that several values have, and `UsageError` for a value
        that there is not.
        """
        if isinstance(value, str):
            labels = list(self.labels or ())
            if labels.count(value) != 1:
                raise UnknownName(f"{self.name} of this run", value, labels or [str(each) for each in self.values])
            return int(self.values[labels.index(value)])
        if value not in self.values:
            raise UsageError(f"{self.name} {value!r} is not in this run; it has {span(self)}")
        return int(value)


@dataclass(frozen=True)
class Measure:
    """One number at every token of a text."""

    label: str
    values: np.ndarray
    """`[position]`"""
    log: bool = False
    """Whether the colours follow the logarithm."""


@dataclass(frozen=True)
class LongText:
    """A text of any length with numbers at its tokens, of which a page shows one window."""

    title: str
    caption: str
    tokens: Sequence[str]
    """`[position]`; any text."""
    measures: Sequence[Measure]
    origin: int | None = None
    """The position that was chosen among those that look back."""
    looks: Mapping[int, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """Positions that look back, each with the positions that it looks at most at and the weight of each, the heaviest
    first. A page shows them both ways."""

    @property
    def links(self) -> Sequence[tuple[int, float]]:
        """What the origin looks at."""
        return () if self.origin is None else self.looks.get(self.origin, ())


@dataclass(frozen=True)
class TextTable:
    """Texts in rows, the first of each being its name; any text."""

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Details:
    """What is shown of a choice: figures, tables of texts, and a text to walk through."""

    figures: Sequence[Figure] = ()
    text: LongText | None = None
    note: str = ""
    """One sentence on what is chosen."""
    tables: Sequence[TextTable] = ()
    by_name: Mapping[str, Figure] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {figure.name: figure for figure in self.figures})

    def __getitem__(self, name: str) -> Figure:
        if name not in self.by_name:
            raise UnknownName("figure of these details", name, list(self.by_name))
        return self.by_name[name]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        from ..figures.mime import listing

        parts = [bundle("", [self.note] if self.note else [])]
        parts += [bundle(table.title, table=[table.columns, *table.rows]) for table in self.tables]
        if self.figures:
            parts.append(listing(self.by_name))
        return {kind: "\n".join(part[kind] for part in parts if part[kind]) for kind in ("text/html", "text/plain")}


def complete(coordinates: Sequence[SelectableDim], chosen: Mapping[str, int | str]) -> dict[str, int]:
    """A value for every coordinate: the chosen one, given as a number or by its label, or its first.

    Raises `UnknownName` for a coordinate or a label that there is not, and `UsageError` for a value that it does not
    have.
    """
    known = {each.name: each for each in coordinates}
    for name in chosen:
        if name not in known:
            raise UnknownName("coordinate of this run", name, list(known))
    return {name: each.number(chosen.get(name, each.first)) for name, each in known.items()}


def span(coordinate: SelectableDim) -> str:
    """The values of a coordinate in a few words."""
    values = [int(value) for value in coordinate.values]
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    shown = ", ".join(str(value) for value in values[:8])
    return f"{shown}, … ({len(values)} in all)" if len(values) > 8 else shown
