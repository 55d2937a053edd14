"""Intervals: bootstrap over needles, paired where two conditions share them, and Wilson where nothing varies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
DRAWS = 2000


class Interval(NamedTuple):
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


def weights(n: int, rng: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """How often each of `n` needles is in each bootstrap sample, over `n`: `[draw, example]`."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws) / n


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator, draws: int = DRAWS
) -> Interval:
    """Percentile interval over needles `[example, …]`; `statistic` maps means `[draw, …]` to numbers `[draw]`."""
    samples = np.tensordot(weights(len(values), rng, draws), values, axes=1)
    return _interval(float(statistic(values.mean(0)[None])[0]), statistic(samples))


def means_interval(values: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the percentile intervals of the mean over needles, for every cell of `[example, …]`."""
    samples = np.tensordot(weights(len(values), rng, draws), values, axes=1)
    low, high = np.quantile(samples, _ends(), axis=0)
    return low, high


def over_sets(values: np.ndarray, rng: np.random.Generator, draws: int = DRAWS) -> Interval:
    """Mean of `[sample, example]` with both random sets and needles drawn again."""
    sets, needles = values.shape
    by_set = weights(sets, rng, draws)
    by_needle = weights(needles, rng, draws)
    # rounding may carry a mean of equal values past them
    samples = np.einsum("ds,sn,dn->d", by_set, values, by_needle).clip(values.min(), values.max())
    return _interval(float(values.mean()), samples)


def wilson(values: np.ndarray) -> Interval:
    """Wilson's score interval of a share of needles; for values between 0 and 1 it is on the safe side."""
    z = 1.959963984540054
    n, mean = len(values), float(np.mean(values))
    centre = (mean + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2))
    # at 0 and 1 one end is exact, which rounding would miss
    low = 0.0 if mean == 0 else float(centre - half)
    return Interval(mean, low, 1.0 if mean == 1 else float(centre + half))


def newcombe(first: Interval, second: Interval) -> Interval:
    """Newcombe's interval of a difference of two shares, from their Wilson intervals; pairing is not used."""
    gap = first.value - second.value
    below = np.hypot(first.value - first.low, second.high - second.value)
    above = np.hypot(first.high - first.value, second.value - second.low)
    return Interval(gap, float(gap - below), float(gap + above))


def wider(first: Interval, second: Interval) -> Interval:
    """Two intervals of one value, taken together: a bootstrap has no width where all needles agree."""
    return Interval(first.value, min(first.low, second.low), max(first.high, second.high))


def _ends() -> tuple[float, float]:
    return (1 - LEVEL) / 2, (1 + LEVEL) / 2


def _interval(value: float, samples: np.ndarray) -> Interval:
    low, high = np.quantile(samples, _ends())
    return Interval(value, float(low), float(high))
