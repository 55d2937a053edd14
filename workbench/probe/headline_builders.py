"""Headlines and their controls from intervals, and how they are written in sentences."""

from __future__ import annotations

from ..formatting import percent
from ..records.record import Control, Headline
from .statistics import LEVEL, Interval

FEW = 30
"""Held-out items below which a run says that its intervals are wide."""


def headline(
    name: str,
    found: Interval | float | None,
    n: int,
    *,
    unit: str,
    split: str,
    method: str,
    control: Control | None = None,
) -> Headline:
    """A headline from a value with its interval; a bare number has none, and None is a value that is not defined."""
    value, low, high = (found, None, None) if not isinstance(found, tuple) else found
    return Headline(
        name=name,
        value=value,
        low=low,
        high=high,
        level=None if value is not None and low is None else LEVEL,
        n=n,
        unit=unit,
        split=split,
        method=method,
        control=control,
    )


def control(name: str, found: Interval | float | None, n: int | None = None, unit: str | None = None) -> Control:
    """What a headline is read against; without a `unit` it has the headline's, and with another it is not compared."""
    value, low, high = (found, None, None) if not isinstance(found, tuple) else found
    return Control(name=name, value=value, low=low, high=high, n=n, unit=unit)


def in_percent(line: Headline | Control, digits: int = 2) -> str:
    """A share with its interval: `75% (57% to 88%)`."""
    if line.value is None:
        return "an unknown share"
    if line.low is None or line.high is None:
        return percent(line.value, digits)
    value, low, high = (percent(each, digits) for each in (line.value, line.low, line.high))
    return f"{value} ({low} to {high})"


def against(line: Headline) -> str:
    """The control of a share, as the second half of a sentence: `the knob: 75%`."""
    if line.control is None or line.control.value is None:
        return "there is nothing to compare it with"
    return f"{line.control.name}: {percent(line.control.value)}"


def wide_intervals(n: int, items: str) -> list[str]:
    """The limit that a run with few held-out items states; empty for a run with enough."""
    return [f"{n} {items}: the intervals are wide; the preset full takes more"] if n < FEW else []
