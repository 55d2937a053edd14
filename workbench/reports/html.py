"""A report as one HTML file that asks for nothing: no request, no foreign script, no script needed to read it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, NamedTuple, get_args

from markupsafe import Markup

from ..errors import WorkbenchError
from ..figures import Figure, style
from ..figures.plotly import plotly_dict, plotly_json
from ..figures.table import csv
from . import pictures
from .blocks import Block, FigureBlock, Report

MOST_BYTES = 10_000_000
"""A report that would be larger leaves something out."""
INTERACTIVE_BYTES = 2_500_000
"""What the interactive figures of one report may take together; later ones stay static."""
CSV_BYTES = 150_000
"""A larger table of numbers is not embedded; the run's folder has it."""
SHOWN_ROWS = 100


@dataclass(frozen=True)
class Drawn:
    """A figure ready for the page."""

    svg: Markup | None
    image: str
    spec: str | None
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[str]]
    count: int
    csv: str | None


class _Detail(NamedTuple):
    """How much of the figures a page holds, and what it says where that is not all."""

    interactive: bool
    numbers: bool
    pictures: bool
    notice: str


_DETAIL = (
    _Detail(True, True, True, ""),
    _Detail(False, True, True, "To keep this file small, its figures do not answer to the mouse."),
    _Detail(False, False, True, "To keep this file small, its figures stand still, and their numbers are left out."),
    _Detail(
        False, False, False, "To keep this file small, its figures are left out; the folders of the runs have them."
    ),
)


def render(report: Report, static: bool = False) -> str:
    """The page; `static` is for paper: no scripts, figures as images.

    What would make it larger than `MOST_BYTES` is left out, and the page says so: first what moves in figures, then the
    numbers behind them, then the figures. Raises `WorkbenchError` if that is not enough.
    """
    drawn = {picture.key: _drawn(picture, static) for picture in report.pictures()}
    specs = {} if static else _specs(report)
    size = 0
    for detail in _DETAIL[2:] if static else _DETAIL:
        page = _page(report, drawn, specs if detail.interactive else {}, detail, static)
        if (size := len(page.encode())) <= MOST_BYTES:
            return page
    raise WorkbenchError(
        f"the report would take {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}: "
        "report fewer runs at once, or choose another format, such as json"
    )


def _specs(report: Report) -> dict[str, str]:
    """What Plotly draws of each figure, the first ones first, as far as `INTERACTIVE_BYTES` reach."""
    left, found = INTERACTIVE_BYTES, {}
    for picture in report.pictures():
        spec = interactive(picture.figure)
        if len(spec) <= left:
            found[picture.key] = spec
            left -= len(spec)
    return found


def _page(report: Report, drawn: Mapping[str, Drawn], specs: Mapping[str, str], detail: _Detail, static: bool) -> str:
    shown = {}
    for key, one in drawn.items():
        one = replace(one, spec=Markup(specs[key]) if key in specs else None)
        if not detail.numbers:
            one = replace(one, rows=[], csv=None)
        shown[key] = one if detail.pictures else replace(one, svg=None, image="")
    scripts = [_plotly()] if specs else []
    scripts += [] if static else [_asset("report.js")]
    return str(
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            drawn=shown,
            static=static,
            notice="" if static and detail.pictures else detail.notice,
            css=Markup(_asset("report.css")),
            scripts=[Markup(script) for script in scripts],
            policy=policy(scripts),
            templates={theme: style.template(theme) for theme in ("light", "dark")},
            islands=[{"record": run["record"], "summary": run["summary"]} for run in report.runs],
        )
    )


def policy(scripts: Sequence[str]) -> str:
    """The content security policy: only these very scripts run, and nothing is fetched from anywhere."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {hashes or chr(39) + 'none' + chr(39)}",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def interactive(figure: Figure) -> str:
    """What Plotly draws, without its template and title, as JSON that is safe inside a script element."""
    from jinja2.utils import htmlsafe_json_dumps

    spec = json.loads(plotly_json(plotly_dict(figure, title=False)))
    spec["layout"].pop("template")
    return str(htmlsafe_json_dumps(spec, sort_keys=True))


def _drawn(picture: FigureBlock, static: bool) -> Drawn:
    figure = picture.figure
    svg = None if static else pictures.inline_svg(figure, picture.key, picture.saved)
    table = figure.data
    written = csv(table)
    numeric = [table[column].dtype.kind in "biuf" for column in table.columns]
    rows = [] if static else [[_cell(value) for value in row] for row in table.head(SHOWN_ROWS).itertuples(index=False)]
    return Drawn(
        svg=None if svg is None else Markup(svg),
        image="" if svg else pictures.image(figure, outlines=static),
        spec=None,
        columns=[column.replace("_", " ") for column in table.columns],
        numeric=numeric,
        rows=rows,
        count=len(table),
        csv=pictures.data_uri(written.encode(), "text/csv") if not static and len(written) <= CSV_BYTES else None,
    )


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


def csv_link(text: str | None) -> str | None:
    """The address of a table to download; None if it is too large to embed."""
    return None if text is None or len(text) > CSV_BYTES else pictures.data_uri(text.encode(), "text/csv")


@cache
def _plotly() -> str:
    """plotly.js as the plotly package brings it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _asset(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("workbench.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["csv_link"] = csv_link
    environment.tests["kind"] = _is_kind
    environment.globals["unknown"] = _unknown
    return environment


def _unknown(block: object) -> str:
    raise TypeError(f"no template draws the block {type(block).__name__}")


def _is_kind(block: object, name: str) -> bool:
    if name not in {kind.__name__ for kind in get_args(Block)}:
        raise KeyError(f"a template asks for the block {name!r}, which there is not")
    return type(block).__name__ == name
