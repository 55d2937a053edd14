"""A title, facts and a table as a notebook shows them: plain HTML without scripts, and the same as text.

GitHub, nbconvert and JupyterLab show both alike. Whatever stands in it was escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .formatting import strip_control

Bundle = dict[str, Any]
Table = Iterable[Sequence[object]]
VIEW = "application/vnd.jupyter.widget-view+json"
"""What a live widget is shown as; beside it stands what remains without a kernel."""
_LEFT = "text-align:left;vertical-align:top"


def html(text: object) -> str:
    """Any text as HTML that shows it as it is: no tag, no control character, no formula between `$` signs."""
    from markupsafe import escape

    # A formula never reaches across an element, so a sign inside one opens none.
    return str(escape(strip_control(str(text).replace("\n", " ")))).replace("$", "<span>$</span>")


def bundle(title: str, said: Sequence[str] = (), facts: Iterable[tuple[str, object]] = (), table: Table = ()) -> Bundle:
    """A title, sentences, facts by name and a table (its first row the heading), as HTML and as text."""
    facts, rows = [(name, value) for name, value in facts if value not in (None, "")], [list(row) for row in table]
    parts = [f"<p><strong>{html(title)}</strong></p>" if title else "", *(f"<p>{html(one)}</p>" for one in said)]
    if facts:
        parts.append(_table([], [[name, value] for name, value in facts]))
    if rows:
        parts.append(_table(rows[0], rows[1:]))
    text = [title, *said, *(f"{name}: {value}" for name, value in facts), *_aligned(rows)]
    plain = "\n".join(strip_control(str(line).replace("\n", " ")) for line in text if line)
    return {"text/html": f"<div>{''.join(parts)}</div>", "text/plain": plain}


def _table(heading: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f'<th scope="col" style="{_LEFT}">{html(word)}</th>' for word in heading)
    body = "".join(
        f'<tr><th scope="row" style="{_LEFT}">{html(row[0])}</th>'
        + "".join(f'<td style="{_LEFT}">{html(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _aligned(rows: Sequence[Sequence[object]]) -> list[str]:
    texts = [[strip_control(str(cell).replace("\n", " ")) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]


class Sentences(list[str]):
    """Sentences that a notebook shows as paragraphs.

    `_repr_pretty_` is there because IPython would write any list its own way.
    """

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        return bundle("", self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self._repr_mimebundle_()["text/plain"])
