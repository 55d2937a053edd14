"""Intervals and tests that probes share: bootstrap over clusters, Wilson, paired tests, corrections for many tests.

Items of one cluster (one subject, one text) are not independent, so a bootstrap draws whole clusters again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""Coverage of every interval."""
DRAWS = 2000
"""Samples of every bootstrap, and of every permutation test that does not go through all of them."""
Z = 1.959963984540054
"""Quantile of the normal distribution that leaves (1 - LEVEL) / 2 above it."""
EXACT = 12
"""Clusters up to which a sign-flip test goes through every assignment of signs."""

Clusters = Sequence[Hashable] | None
"""The cluster of each entry; None where each is its own."""


class Interval(NamedTuple):
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


def resample(n: int, rng: np.random.Generator, clusters: Clusters = None, draws: int = DRAWS) -> np.ndarray:
    """How often each of `n` entries is in each bootstrap sample, in whole clusters: float64 `[draw, entry]`."""
    if clusters is None:
        return rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
    owner = owners(n, clusters)
    count = int(owner.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)[:, owner].astype(np.float64)


def owners(n: int, clusters: Clusters) -> np.ndarray:
    """The number of each entry's cluster, from 0 in the order of their names, `[entry]`."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters were given for {n} entries")
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def bootstrap(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    clusters: Clusters = None,
    draws: int = DRAWS,
) -> Interval:
    """Percentile interval of a function of means: `values [entry, …]`, `statistic` maps `[draw, …]` to `[draw]`."""
    counts = resample(len(values), rng, clusters, draws)
    return _interval(float(statistic(values.mean(0)[None])[0]), statistic(_means(counts, values)))


def bootstrap_mean(values: np.ndarray, rng: np.random.Generator, *clusters: Clusters, draws: int = DRAWS) -> Interval:
    """Percentile interval of the mean of `values`, each axis drawn again by itself.

    `clusters` belong to the axes in their order. For `[sample, item]` both random sets and items are drawn again, so
    that the interval holds for other sets and other items.
    """
    values = np.asarray(values, np.float64)
    axes = [*clusters, *(None for _ in range(values.ndim - len(clusters)))]
    counts = [resample(size, rng, each, draws) for size, each in zip(values.shape, axes, strict=True)]
    sums = np.tensordot(counts[0], values, axes=1)
    for each in counts[1:]:
        sums = np.einsum("de,de...->d...", each, sums)
    totals = np.prod([each.sum(1) for each in counts], axis=0)
    # rounding may carry a mean of equal values past them
    return _interval(float(values.mean()), (sums / totals).clip(values.min(), values.max()))


def bootstrap_share(values: np.ndarray, rng: np.random.Generator, clusters: Clusters = None) -> Interval:
    """Mean of values from 0 to 1, `[entry]` or `[entry, sample]`, with clusters of entries and samples drawn again.

    At least as wide as Wilson's interval with one trial a cluster: a bootstrap has no width where all agree.
    """
    found = bootstrap_mean(values, rng, clusters)
    return wider(found, wilson(found.value, int(owners(len(values), clusters).max()) + 1))


def mean_bounds(
    values: np.ndarray, rng: np.random.Generator, clusters: Clusters = None, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the percentile interval of the mean over entries, for every cell of `[entry, …]`.

    A NaN is an entry that a cell does not have; a cell without any has NaN for both ends.
    """
    values = np.asarray(values, np.float64)
    means = _means(resample(len(values), rng, clusters, draws), values)
    empty = np.isnan(values).all(0)
    quantile = np.nanquantile if np.isnan(means).any() else np.quantile
    low, high = quantile(np.where(empty, 0.0, means), _ENDS, axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def bootstrap_entries(
    statistic: Callable[[np.ndarray], float], n: int, rng: np.random.Generator, draws: int = DRAWS
) -> tuple[float, float] | None:
    """Ends of the percentile interval of any statistic of the places of drawn entries, `[entry]`.

    Samples for which it is NaN are left out; None if it is NaN for all.
    """
    found = np.array([statistic(places) for places in rng.integers(n, size=(draws, n))], np.float64)
    found = found[~np.isnan(found)]
    if not len(found):
        return None
    low, high = np.quantile(found, _ENDS)
    return float(low), float(high)


def wilson(share: float, n: int) -> Interval:
    """Wilson's score interval of a share of `n` trials; for a mean of values between 0 and 1 it is on the safe side.

    Wilson 1927, as compared by Newcombe 1998 (Statistics in Medicine 17, 857–872).
    """
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(max(0.0, share * (1 - share)) / n + Z**2 / (4 * n**2))
    # at 0 and 1 one end is exact, which rounding would miss
    low = 0.0 if share == 0 else max(0.0, centre - half)
    return Interval(share, low, 1.0 if share == 1 else min(1.0, centre + half))


def newcombe(first: Interval, second: Interval) -> Interval:
    """Newcombe's interval of a difference of two shares, from their Wilson intervals; pairing is not used.

    Newcombe 1998 (Statistics in Medicine 17, 873–890), method 10.
    """
    gap = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(gap, gap - below, gap + above)


def wider(first: Interval, second: Interval) -> Interval:
    """Two intervals of one value, taken together: a bootstrap has no width where all entries agree."""
    return Interval(first.value, min(first.low, second.low), max(first.high, second.high))


def paired_difference(
    first: np.ndarray, second: np.ndarray, rng: np.random.Generator, clusters: Clusters = None, draws: int = DRAWS
) -> Interval:
    """Mean of `first - second [pair]` with its bootstrap interval: both were measured on the same items."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal shapes, not {first.shape} and {second.shape}")
    return bootstrap_mean(first - second, rng, clusters, draws=draws)


def sign_test(differences: np.ndarray) -> np.ndarray:
    """Two-sided p of each cell of `[pair, …]`: does one sign come more often than chance? Ties are left out.

    Exact, by the binomial distribution; where both members of a pair are 0 or 1 it is McNemar's exact test.
    """
    above, below = (np.asarray(differences) > 0).sum(0), (np.asarray(differences) < 0).sum(0)
    fewer, both = np.minimum(above, below), above + below
    return np.vectorize(lambda few, n: _two_sided(int(few), int(n)), otypes=[np.float64])(fewer, both)


def sign_flip_test(
    differences: np.ndarray, rng: np.random.Generator, clusters: Clusters = None, draws: int = DRAWS
) -> np.ndarray:
    """Two-sided p of each cell of `[pair, …]`: would its mean be as far from 0 if each cluster's sign were random?

    All signs are gone through for up to 12 clusters, else `draws` of them; the smallest p is then 1 / (draws + 1).
    """
    differences = np.asarray(differences, np.float64)
    owner = owners(len(differences), clusters)
    count = int(owner.max()) + 1
    sums = np.zeros((count, *differences.shape[1:]))
    np.add.at(sums, owner, differences)
    exact = count <= EXACT
    if exact:
        signs = 1.0 - 2.0 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
    else:
        signs = 1.0 - 2.0 * rng.integers(2, size=(draws, count))
    found, seen = np.abs(np.tensordot(signs, sums, axes=1)), np.abs(sums.sum(0))
    # sums that differ by rounding alone are equal
    hits = (found >= seen - 1e-9 * np.abs(sums).sum(0)).sum(0)
    return hits / len(signs) if exact else (hits + 1) / (len(signs) + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p: those at or below a level are rejected with that chance of any false rejection (Holm 1979).

    NaN is no test: it stays, and does not count.
    """
    return _adjusted(p, lambda ordered, n: np.maximum.accumulate(ordered * (n - np.arange(n))))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p of Benjamini and Hochberg 1995: of those at or below a level, that share is false in expectation.

    It holds for independent tests and for positively dependent ones. NaN is no test: it stays, and does not count.
    """
    return _adjusted(p, lambda ordered, n: np.minimum.accumulate((ordered * n / np.arange(1, n + 1))[::-1])[::-1])


def _adjusted(p: np.ndarray, rule: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    flat = np.asarray(p, np.float64).ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    found = np.full(flat.shape, np.nan)
    found[order] = np.minimum(rule(flat[order], len(order)), 1.0)
    return found.reshape(np.shape(p))


@cache
def _two_sided(fewer: int, n: int) -> float:
    """Chance that of `n` fair coins as few or fewer show one side, for either side."""
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)


def _means(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means `[draw, …]` of `values [entry, …]` by `counts [draw, entry]`, NaN left out."""
    there = ~np.isnan(values)
    if there.all():
        return np.tensordot(counts, values, axes=1) / counts.sum(1).reshape(-1, *(1,) * (values.ndim - 1))
    sums = np.tensordot(counts, np.where(there, values, 0.0), axes=1)
    weights = np.tensordot(counts, there.astype(np.float64), axes=1)
    return np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0)


_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _interval(value: float, samples: np.ndarray) -> Interval:
    low, high = np.quantile(samples, _ENDS)
    return Interval(value, float(low), float(high))
