"""Writes a report in any of its formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import files
from ..errors import UnknownName, UsageError, WorkbenchError
from . import report
from .redacted import Redacted
from .report import RunLike

FORMATS = {
    ".html": "html",
    ".htm": "html",
    ".md": "md",
    ".markdown": "md",
    ".json": "json",
    ".ipynb": "ipynb",
    ".pdf": "pdf",
}


def format_of(path: Path, to: str | None = None) -> str:
    """The format that is asked for, or that the end of the file's name tells.

    Raises `UnknownName` or `UsageError` with the formats there are.
    """
    known = sorted(set(FORMATS.values()))
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
        content = _render(built, kind, path)
        files.write(path, content)
    except OSError as error:
        raise WorkbenchError(f"cannot write the report {str(path)!r}: {error.strerror or error}") from error
    return path


def _render(built: report.Report, kind: str, path: Path) -> bytes:
    if kind == "html":
        from . import html

        return html.render(built).encode()
    if kind == "md":
        from . import markdown

        return markdown.write_beside(built, path).encode()
    if kind == "json":
        from . import json

        return json.render(built).encode()
    if kind == "ipynb":
        from . import notebook

        return notebook.render(built, path).encode()
    from . import pdf

    return pdf.render(built)
