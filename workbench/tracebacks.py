"""Tracebacks of what nobody expected, kept where someone who can mend it looks: a run's record, or the log."""

from __future__ import annotations

import logging
import traceback

from .errors import WorkbenchError
from .formatting import one_line, strip_control

_log = logging.getLogger("workbench")


def told(error: BaseException) -> str:
    """The traceback of an error and of what it came from, as a record keeps it."""
    return "".join(traceback.format_exception(error))


def unexpected(error: BaseException) -> bool:
    """Whether an error, or one that it came from, is none that one line explains."""
    link: BaseException | None = error
    while isinstance(link, WorkbenchError):
        link = link.__cause__
    return link is not None


def log(error: BaseException, doing: str) -> None:
    """Write the traceback of an unexpected error into the log; its texts may be anyone's, and obey no terminal."""
    if unexpected(error):
        lines = "\n".join(strip_control(line) for line in told(error).splitlines())
        _log.error("%s\n%s", one_line(doing), lines)
