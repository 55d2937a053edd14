"""A report as Markdown, for a repository, an issue or a notebook."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never
from urllib.parse import quote

from ..errors import WorkbenchError
from ..figures.table import csv
from ..files import write
from .blocks import (
    Block,
    BulletList,
    Cards,
    Checks,
    Code,
    Facts,
    FigureBlock,
    HeadlineRow,
    Headlines,
    Paragraphs,
    Report,
    Section,
    Table,
)
from .pictures import svg_file

_SIGNS = re.compile(r"([\\`*_{}\[\]()#+!|$~^:@-])")
Show = Callable[[FigureBlock], str]
"""Writes a figure; where its picture is kept depends on what the Markdown is for."""


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line: no markup, no HTML, no formula, no link."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SIGNS.sub(r"\\\1", line)


def code(text: str) -> str:
    """Text as a block of code, fenced longer than any fence inside it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"


def write_beside(report: Report, path: Path) -> str:
    """The report, and its figures as SVG and CSV in the folder `<name>_files` beside `path`."""
    folder = path.parent / f"{path.stem}_files"
    if folder.exists() and not folder.is_dir():
        raise WorkbenchError(f"{str(folder)!r} is in the way of the figures: it is no folder")

    def show(picture: FigureBlock) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{picture.key}.svg", svg_file(picture.figure, picture.saved))
        write(folder / f"{picture.key}.csv", csv(picture.figure.data))
        place = f"{quote(folder.name)}/{picture.key}"
        figure = picture.figure
        return (
            f"![{escape(figure.alt)}](<{place}.svg>)\n\n{escape(figure.caption)} "
            f"[Numbers in this figure](<{place}.csv>)"
        )

    return render(report, show)


def render(report: Report, show: Show) -> str:
    """The whole report; `show` writes the figures."""
    parts = [f"# {escape(report.title)}", escape(report.about)]
    for section in report.sections:
        parts += _section(section, 2, show)
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section, level: int, show: Show) -> list[str]:
    parts = [f"{'#' * level} {escape(section.title)}", escape(section.about)]
    for one in section.blocks:
        parts.append(block(one, level + 1, show))
    for inner in section.sections:
        parts += _section(inner, level + 1, show)
    return parts


def block(one: Block, level: int, show: Show) -> str:
    """One block; its own headings are of this level."""
    head = "#" * min(level, 6)
    if isinstance(one, Paragraphs):
        start = "> " if one.kind == "notice" else ""
        return "\n\n".join(start + escape(paragraph) for paragraph in one.paragraphs)
    if isinstance(one, BulletList):
        return "\n".join(f"- {escape(sentence)}" for sentence in one.sentences)
    if isinstance(one, Facts):
        return f"{head} {escape(one.caption)}\n\n{grid(('', ''), one.pairs)}"
    if isinstance(one, Code):
        return code(one.text)
    if isinstance(one, Table):
        note = f"\n\n{escape(one.note)}" if one.note else ""
        return f"{head} {escape(one.caption)}\n\n{grid(one.columns, one.rows, one.numeric)}{note}"
    if isinstance(one, Headlines):
        return headlines(one)
    if isinstance(one, FigureBlock):
        return f"{head} {escape(one.figure.title)}\n\n{show(one)}"
    if isinstance(one, Checks):
        rows = [(name, "passed" if passed else "FAILED", detail) for name, passed, detail in one.rows]
        return grid(("check", "result", "detail"), rows)
    if isinstance(one, Cards):
        return _cards(one)
    assert_never(one)


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool] = ()) -> str:
    """A table of texts."""
    lines = [columns, ["---:" if numeric and numeric[i] else "---" for i in range(len(columns))]]
    written = [f"| {' | '.join(escape(cell) for cell in lines[0])} |", f"| {' | '.join(lines[1])} |"]
    return "\n".join([*written, *(f"| {' | '.join(escape(cell) for cell in row)} |" for row in rows)])


def headlines(one: Headlines) -> str:
    """The table of headlines, each beside its control."""
    many = any(row.of for row in one.rows)
    columns = [
        "headline",
        *(["run"] if many else []),
        "value",
        "interval",
        "control",
        "reading",
        "n",
        "unit",
        "method, split",
    ]
    rows = [
        [
            row.label,
            *([row.of] if many else []),
            row.value,
            row.interval,
            control(row),
            row.verdict,
            row.n,
            row.unit,
            f"{row.method}, {row.split}",
        ]
        for row in one.rows
    ]
    return grid(columns, rows)


def control(row: HeadlineRow) -> str:
    """The control of a headline in one line."""
    return " ".join(part for part in (row.control, row.control_value, row.control_interval) if part)


def _cards(cards: Cards) -> str:
    parts = []
    for i, card in enumerate(cards.cards, start=1):
        said = [
            f"**Run {i}: {escape(card.title)}** {escape(card.about)}, {escape(card.status)}.",
            *([f"*{escape(card.question)}*"] if card.question else []),
            *map(escape, card.said),
        ]
        if card.headline is not None:
            row = card.headline
            against = f" ({control(row)})" if row.control else ""
            said.append(f"{row.label} {row.value} {row.interval}: {row.verdict}{against}.")
            said[-1] = escape(said[-1])
        parts.append(" ".join(said))
    return "\n\n".join(parts)
