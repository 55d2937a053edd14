"""Writes a report in any of its formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import files
from ..errors import UnknownName, UsageError, WorkbenchError
from . import report
from .redacted import Redacted
from .report import RunLike


def _html(built: report.Report, path: Path) -> str:
    from . import html

    return html.render(built)


def _markdown(built: report.Report, path: Path) -> str:
    from . import markdown

    return markdown.write_beside(built, path)


def _json(built: report.Report, path: Path) -> str:
    from . import json

    return json.render(built)


def _notebook(built: report.Report, path: Path) -> str:
    from . import notebook

    return notebook.render(built, path)


def _pdf(built: report.Report, path: Path) -> bytes:
    from . import pdf

    return pdf.render(built)


class _Format(NamedTuple):
    """The endings of a file's name that tell a format, and what writes it."""

    endings: tuple[str, ...]
    render: Callable[[report.Report, Path], str | bytes]


_FORMATS = {
    "html": _Format((".html", ".htm"), _html),
    "md": _Format((".md", ".markdown"), _markdown),
    "json": _Format((".json",), _json),
    "ipynb": _Format((".ipynb",), _notebook),
    "pdf": _Format((".pdf",), _pdf),
}
"""Every format there is, once: whoever offers or writes one asks here."""
FORMATS = {ending: name for name, one in _FORMATS.items() for ending in one.endings}
"""The format that each ending of a name tells."""


def format_of(path: Path, to: str | None = None) -> str:
    """The format that is asked for, or that the end of the file's name tells.

    Raises `UnknownName` or `UsageError` with the formats there are.
    """
    known = sorted(_FORMATS)
    if to is not None:
        if to not in known:
            raise UnknownName("report format", to, known)
        return to
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"the name {path.name!r} tells no report format; end it with one of {', '.join(FORMATS)}, "
            f"or name the format: {', '.join(known)}"
        )
    return FORMATS[path.suffix.lower()]


def write(runs: RunLike | Sequence[RunLike], path: str | Path, to: str | None = None, *, prompts: bool = True) -> Path:
    """Write the report of one or several runs to `path`, whole or not at all, and return the path.

    The format is `to` (html, md, pdf, ipynb, json) or told by the path's ending. Without `prompts` it holds no text
    that the runs read or wrote. Raises `UsageError` for wrong use, `MissingExtra` if a format needs a package that is
    not here, and `WorkbenchError` if the file cannot be written.
    """
    path = Path(path)
    kind = format_of(path, to)
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder; name a file in it, for example {str(path / 'report.html')!r}")
    several = list(runs) if isinstance(runs, Sequence) else [runs]
    if not prompts:
        several = [Redacted(run) for run in several]
    built = report.build(several)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = _FORMATS[kind].render(built, path)
        files.write(path, content)
    except OSError as error:
        raise WorkbenchError(f"cannot write the report {str(path)!r}: {error.strerror or error}") from error
    return path
