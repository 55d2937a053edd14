"""What a report is made of, free of any format; each format writes these blocks in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..figures import Figure


@dataclass(frozen=True)
class Paragraphs:
    """Paragraphs; a `lead` is set larger, a `notice` stands out."""

    paragraphs: Sequence[str]
    kind: Literal["plain", "lead", "notice"] = "plain"


@dataclass(frozen=True)
class BulletList:
    """A list of sentences."""

    sentences: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    pairs: Sequence[tuple[str, str]]
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of texts; `numeric` columns are aligned as numbers, a `folded` table opens on demand."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool] = ()
    note: str = ""
    folded: bool = False
    csv: str | None = None
    file: str = ""


@dataclass(frozen=True)
class Code:
    """A command or a piece of code to copy."""

    text: str
    label: str
    language: str = "sh"


@dataclass(frozen=True)
class Span:
    """A value and its interval as shares of a strip's width; an end without a number is None."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class IntervalStrip:
    """A headline and its control drawn on one scale from `start` to `end`."""

    start: str
    end: str
    found: Span
    control: Span | None


@dataclass(frozen=True)
class HeadlineRow:
    """A headline in words and as a strip."""

    name: str
    label: str
    value: str
    interval: str
    unit: str
    n: str
    split: str
    method: str
    control: str
    control_value: str
    control_interval: str
    control_n: str
    verdict: str
    strip: IntervalStrip | None
    of: str = ""
    """The run it belongs to, where several are compared."""


@dataclass(frozen=True)
class Headlines:
    """The numbers a person would quote, each beside its control."""

    rows: Sequence[HeadlineRow]
    caption: str


@dataclass(frozen=True)
class FigureBlock:
    """A figure; `key` is unique in the report, `saved` the SVG that its run saved of it."""

    figure: Figure
    key: str
    saved: str | None = None


@dataclass(frozen=True)
class Checks:
    """What was verified during the run: name, whether it passed, detail."""

    rows: Sequence[tuple[str, bool, str]]


@dataclass(frozen=True)
class Card:
    """One run in the overview of several: what was asked, what was found, and the first number with a control."""

    key: str
    title: str
    about: str
    status: str
    question: str
    said: Sequence[str]
    headline: HeadlineRow | None


@dataclass(frozen=True)
class Cards:
    """The overview of several runs."""

    cards: Sequence[Card]


Block = Paragraphs | BulletList | Facts | Table | Code | Headlines | FigureBlock | Checks | Cards


@dataclass(frozen=True)
class Section:
    """A part with a heading; `key` is unique in the report and the target of links."""

    title: str
    key: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = ()
    about: str = ""

    @property
    def on_paper(self) -> bool:
        """Whether anything of it is printed: folded tables are not."""
        return bool(self.sections) or not all(isinstance(block, Table) and block.folded for block in self.blocks)


@dataclass(frozen=True)
class Report:
    """One report of one or several runs, ready for any format."""

    title: str
    about: str
    sections: Sequence[Section]
    runs: Sequence[dict[str, Any]]
    """For each run: its record, where it is, its summary and its figures by key."""

    def pictures(self) -> list[FigureBlock]:
        """All figures in their order."""

        def walk(sections: Sequence[Section]) -> list[FigureBlock]:
            return [
                picture
                for section in sections
                for picture in [*(b for b in section.blocks if isinstance(b, FigureBlock)), *walk(section.sections)]
            ]

        return walk(self.sections)
