"""Headlines and records in words and as tables, for a terminal, a notebook and a page."""

from __future__ import annotations

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


def number(headline: ReadAgainst) -> str:
    """The value of a headline with its interval and unit."""
    if headline.value is None:
        return "not defined"
    value = f"{headline.value:.4g}"
    if headline.low is not None and headline.high is not None:
        value += f" [{headline.low:.4g}, {headline.high:.4g}]"
    return f"{value} {headline.unit}" if headline.unit not in ("", "1", None) else value


def control(headline: ReadAgainst) -> str:
    """What a headline is read against, with its interval."""
    against = headline.control
    if against is None:
        return ""
    value = "not defined" if against.value is None else f"{against.value:.4g}"
    if against.low is not None and against.high is not None:
        value += f" [{against.low:.4g}, {against.high:.4g}]"
    return f"{against.name} {value}" + (f" {against.unit}" if against.unit else "")


HEADLINE = ("headline", "value", "read against", "n", "scored on")


def headlines(several: Iterable[ReadAgainst]) -> Table:
    """Headlines as a table, each beside what it is read against."""
    rows = [[h.name, number(h), _against(h), h.n, h.split] for h in several]
    return [HEADLINE, *rows] if rows else []


def _against(one: ReadAgainst) -> str:
    if one.control is None:
        return "no control"
    return f"{control(one).removeprefix(one.control.name).strip()}: {one.control.name}"


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
