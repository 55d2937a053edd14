"""Headlines and records in words and as tables, for a terminal, a notebook and a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Protocol

from ..html_table import Bundle, Table, bundle


class Estimate(Protocol):
    """A value with its interval and unit: a headline, or what one is read against."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def n(self) -> int | None: ...
    @property
    def unit(self) -> str | None: ...


class ReadAgainst(Estimate, Protocol):
    """An estimate beside its control, with how both were found."""

    @property
    def control(self) -> Estimate | None: ...
    @property
    def level(self) -> float | None: ...
    @property
    def exact(self) -> bool: ...
    @property
    def split(self) -> str: ...
    @property
    def method(self) -> str: ...


def digits(value: float | None) -> str:
    """A number with three significant digits, or the words for a missing one: the same wherever one is read."""
    if value is None or not math.isfinite(value):
        return "not defined"
    if abs(value) < 1e-12:  # what rounding leaves of a zero
        return "0"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """An interval in brackets; empty if there is none."""
    return "" if low is None or high is None else f"[{digits(low)}, {digits(high)}]"


def number(headline: Estimate) -> str:
    """The value of a headline, or of what one is read against, with its interval and unit."""
    if headline.value is None:
        return "not defined"
    unit = "" if headline.unit in ("", "1", None) else str(headline.unit)
    return " ".join(filter(None, [digits(headline.value), interval(headline.low, headline.high), unit]))


def plain(value: Any, none: str = "–") -> str:
    """A value of a record as text: a text as it is, and nothing as the word for it."""
    if value is None:
        return none
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def control(headline: ReadAgainst) -> str:
    """What a headline is read against, with its interval."""
    return "" if headline.control is None else f"{headline.control.name} {number(headline.control)}"


HEADLINE = ("headline", "value", "read against", "n", "scored on")


def headlines(several: Iterable[ReadAgainst]) -> Table:
    """Headlines as a table, each beside what it is read against."""
    rows = [[h.name, number(h), _against(h), h.n, h.split] for h in several]
    return [HEADLINE, *rows] if rows else []


def _against(one: ReadAgainst) -> str:
    if one.control is None:
        return "no control"
    return f"{number(one.control)}: {one.control.name}"


def headline(one: ReadAgainst) -> Bundle:
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


def record(one: Any) -> Bundle:
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
