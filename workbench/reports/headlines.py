"""Headlines in words, and on one scale with their controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..records.describe import digits, interval
from .blocks import HeadlineRow, Headlines, IntervalStrip, Span


def label(name: str) -> str:
    """A name as words."""
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def quoted(record: Mapping[str, Any]) -> Headlines:
    """All headlines of a record, ready to be written."""
    caption = "Each value with its interval, on one scale with the control it is read against."
    return Headlines([row(headline) for headline in record["headline"]], caption)


def row(headline: Mapping[str, Any], of: str = "") -> HeadlineRow:
    """One headline of a record, ready to be written."""
    control = headline.get("control")
    bounds = interval(headline.get("low"), headline.get("high"))
    level = headline.get("level")
    if bounds and level:
        bounds = f"{bounds} {100 * level:g} %"
    elif headline.get("exact"):
        bounds = "counted, no interval"
    control_bounds = interval(control.get("low"), control.get("high")) if control else ""
    return HeadlineRow(
        name=headline["name"],
        label=label(headline["name"]),
        value=digits(headline["value"]),
        interval=bounds,
        unit="" if headline["unit"] in ("", "1") else headline["unit"],
        n=f"{headline['n']:,}",
        split=headline["split"],
        method=headline["method"],
        control=control["name"] if control else "",
        control_value=" ".join([digits(control["value"]), control.get("unit") or ""]).strip() if control else "",
        control_interval=control_bounds,
        control_n=f"{control['n']:,}" if control and control.get("n") is not None else "",
        verdict=verdict(headline),
        strip=strip(headline),
        of=of,
    )


def verdict(headline: Mapping[str, Any]) -> str:
    """How a headline stands to its control, in a few words."""
    control = headline.get("control")
    if not control:
        return "no control"
    value, other = headline["value"], control["value"]
    if control.get("unit"):
        return "in another unit"
    if value is None or other is None:
        return "cannot be compared"
    low, high = _ends(headline)
    control_low, control_high = _ends(control)
    side = "above" if value > other else "below" if value < other else "equal to"
    if low == high and control_low == control_high:
        return f"{side} the control"
    both = low != high and control_low != control_high
    if low > control_high or high < control_low:
        return f"{side} the control, " + ("intervals apart" if both else "outside the interval")
    return "intervals overlap" if both else "within the interval"


def _ends(part: Mapping[str, Any]) -> tuple[float, float]:
    low, high = part.get("low"), part.get("high")
    return (part["value"], part["value"]) if low is None or high is None else (low, high)


def strip(headline: Mapping[str, Any], scale: tuple[float, float] | None = None) -> IntervalStrip | None:
    """The headline and its control on one scale; None if there is nothing to draw."""
    control = _comparable(headline)
    numbers = _numbers(headline)
    if not numbers or (headline.get("exact") and not control):
        return None
    start, end = scale or _scale(numbers)

    def span(part: Mapping[str, Any]) -> Span:
        return Span(*(_share(part.get(key), start, end) for key in ("value", "low", "high")))

    return IntervalStrip(digits(start), digits(end), span(headline), span(control) if control else None)


def shared_scale(headlines: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """One scale for the same headline of several runs."""
    numbers = [value for headline in headlines for value in _numbers(headline)]
    return _scale(numbers) if numbers else None


def _comparable(headline: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The control, if it is in the headline's unit."""
    control = headline.get("control")
    return control if control and not control.get("unit") else None


def _numbers(headline: Mapping[str, Any]) -> list[float]:
    parts = [headline, _comparable(headline) or {}]
    found = [part.get(key) for part in parts for key in ("value", "low", "high")]
    return [float(value) for value in found if value is not None and math.isfinite(value)]


def _scale(numbers: Sequence[float]) -> tuple[float, float]:
    """From 0 to 1 for shares; else from zero to a round number beyond the outermost one, on either side."""
    low, high = min(*numbers, 0.0), max(*numbers, 0.0)
    if low >= 0 and (high == 0 or 0.25 < high <= 1):
        return 0.0, 1.0
    return -_round_up(-low), _round_up(high)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 or 10 times a power of ten; zero stays zero."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(base * power for base in (1, 2, 5, 10) if base * power >= value * (1 - 1e-12))


def _share(value: float | None, start: float, end: float) -> float | None:
    return None if value is None or not math.isfinite(value) else (value - start) / (end - start)
