"""What a notebook shows of the workbench's objects: plain HTML without scripts, and the same as text.

GitHub, nbconvert and JupyterLab show both alike. Whatever stands in it was escaped here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .formatting import control, number, strip_control

if TYPE_CHECKING:
    from .figures.figure import Figure
    from .internals.hooked_model import ActivationCache
    from .internals.session import Session
    from .probe.explore import Details
    from .records.record import Headline, Record
    from .runs.run import Run

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


def session(one: Session) -> Bundle:
    """A session: the model and its sizes, without reading the weights."""
    loaded, shape = one._loaded, one.shape
    if loaded is None:
        return bundle(repr(one))
    first = next(iter(one.model.parameters()))
    shared = f", {shape.kv_heads} key-value heads" if shape.kv_heads != shape.heads else ""
    facts = [
        ("layers × heads", f"{shape.layers} × {shape.heads}{shared}"),
        ("residual stream", f"{shape.d_model} numbers a token; {shape.d_head} a head"),
        ("made for", f"{shape.context:,} tokens" if shape.context else ""),
        ("vocabulary", f"{shape.vocabulary:,} tokens"),
        ("weights", ", ".join(filter(None, [str(first.dtype).removeprefix("torch."), loaded.quantisation]))),
        ("adapter", loaded.adapter.id if loaded.adapter else ""),
        ("device", str(first.device)),
        ("engine", one.engine_name),
        ("tokenizer", "" if loaded.tokenizer is not None else "none: give token ids"),
    ]
    return bundle(f"Session with {loaded.id}", facts=facts)


HEADLINE = ("headline", "value", "read against", "n", "scored on")


def headlines(several: Iterable[Headline]) -> Table:
    """Headlines as a table, each beside what it is read against."""
    rows = [[h.name, number(h), _against(h), h.n, h.split] for h in several]
    return [HEADLINE, *rows] if rows else []


def _against(one: Headline) -> str:
    if one.control is None:
        return "no control"
    return f"{control(one).removeprefix(one.control.name).strip()}: {one.control.name}"


def headline(one: Headline) -> Bundle:
    """One headline: value, interval, n, and what it is read against."""
    level = f"{one.level:.0%} interval" if one.level and one.low is not None else "counted, not estimated" * one.exact
    facts = [
        ("value", f"{number(one)}{f' ({level})' if level else ''}"),
        ("read against", _against(one)),
        ("n", one.n),
        ("scored on", one.split),
        ("method", one.method),
    ]
    return bundle(one.name, facts=facts)


def record(one: Record) -> Bundle:
    """A record: what was asked and how it ended, its headlines, failed checks and limits."""
    failed = "; ".join(f"{check.name} ({check.detail})" for check in one.checks if not check.passed)
    given = ", ".join(f"{name}={value!r}" for name, value in one.spec.given.items())
    facts = [
        ("question", one.question),
        ("status", one.status),
        ("error", f"{one.error.kind}: {one.error.message}" if one.error else ""),
        ("preset", f"{one.preset}, seed {one.spec.seed}{f'; given {given}' if given else ''}"),
        ("started", f"{one.started[:16].replace('T', ' ')} UTC"),
        ("checks", f"{len(one.checks) - sum(not c.passed for c in one.checks)} of {len(one.checks)} passed"),
        ("failed checks", failed),
        ("limits", " ".join(f"{limit[:1].upper()}{limit[1:].rstrip('.')}." for limit in one.limits)),
    ]
    return bundle(f"{one.probe} on {one.model.id}", one.summary, facts, headlines(one.headline))


def run(one: Run) -> Bundle:
    """A run: what was found, its headlines, and what can be looked at next."""
    record = one.typed_record
    facts = [
        ("error", f"{record.error.kind}: {record.error.message}" if record.error else ""),
        ("failed checks", "; ".join(check.name for check in record.checks if not check.passed)),
        ("figures", ", ".join(record.figures)),
        ("folder", record.id),
    ]
    title = f"{record.probe} on {record.model.id}: {record.status}"
    return bundle(title, record.summary, facts, headlines(record.headline))


def run_with_figures(one: Run) -> list[Bundle]:
    """A run, then each of its figures."""
    from .figures.mime import bundle as drawn

    return [run(one), *(drawn(figure) for figure in one.figures.values())]


def figures(several: Mapping[str, Figure]) -> Bundle:
    """The figures of a run: name and title."""
    return bundle("", table=[("figure", "what it shows"), *((name, one.title) for name, one in several.items())])


def details(one: Details) -> Bundle:
    """What is shown of a choice: its sentence, its tables of texts, and the figures there are by name."""
    parts = [bundle("", [one.note] if one.note else [])]
    parts += [bundle(table.title, table=[table.columns, *table.rows]) for table in one.tables]
    if one.figures:
        parts.append(figures(one.by_name))
    return {kind: "\n".join(part[kind] for part in parts if part[kind]) for kind in ("text/html", "text/plain")}


def captured(one: ActivationCache) -> Bundle:
    """What was read: axes, shape and type of each site, no values."""
    from .internals.sites import KINDS, Site

    def axes(name: str) -> str:
        site = Site.parse(name)
        return ", ".join(axis for axis in KINDS[site.kind] if site.head is None or axis not in ("head", "kv_head"))

    rows = [
        [name, axes(name), " × ".join(map(str, tensor.shape)), str(tensor.dtype).removeprefix("torch.")]
        for name, tensor in one.items()
    ]
    where = "all positions" if one.positions is None else f"positions {', '.join(map(str, one.positions))}"
    return bundle(f"Captured at {where}", table=[("site", "axes", "shape", "type"), *rows])


class Sentences(list[str]):
    """Sentences that a notebook shows as paragraphs.

    `_repr_pretty_` is there because IPython would write any list its own way.
    """

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        return bundle("", self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self._repr_mimebundle_()["text/plain"])


class HeadlineTable(dict[str, "Headline"]):
    """Headlines by name, which a notebook shows as a table."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        return bundle("" if self else "No headlines", table=headlines(self.values()))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self._repr_mimebundle_()["text/plain"])


def updating() -> tuple[Callable[[str], None], Callable[[], None]]:
    """A line of text in a notebook that is written over in place, and how to take it away."""
    from IPython.display import display

    handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(text: str) -> None:
        handle.update({"text/plain": text}, raw=True)

    return write, lambda: write("")
