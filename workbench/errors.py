"""Errors that a user can mend: each says what was asked, what there is, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class WorkbenchError(Exception):
    """Something went wrong that one line explains; the command line exits with status 1."""

    exit_status = 1


class UsageError(WorkbenchError):
    """Wrong use: a name, a type or a value that does not exist here; the command line exits with status 2."""

    exit_status = 2


class UnknownName(UsageError):
    """A name was asked for that is not among the known ones."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        near = get_close_matches(name, known, n=1, cutoff=0.6)
        listed = ", ".join(known[:30]) + (f", … ({len(known)} in all)" if len(known) > 30 else "")
        parts = [f"no {what} named {name!r}"]
        if near:
            parts.append(f"did you mean {near[0]!r}?")
        parts.append(f"there is: {listed}" if known else f"there is no {what} yet")
        super().__init__("; ".join(parts + ([hint] if hint else [])))
        self.near = near[0] if near else None


class SiteError(UsageError):
    """A site that does not exist in this architecture, or that this engine cannot serve."""


class Cancelled(WorkbenchError):
    """The work was cancelled between two of its steps."""


class MissingExtra(WorkbenchError):
    """An optional package is needed and not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra [{extra}]: pip install 'workbench[{extra}]'")
