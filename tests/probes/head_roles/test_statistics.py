"""Intervals: known closed forms, and coverage on simulated needles."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.probes.head_roles import statistics
from workbench.probes.head_roles.statistics import Interval


def test_wilson_is_the_published_interval() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = statistics.wilson(np.array([1.0] * hits + [0.0] * (n - hits)))
        assert found == pytest.approx((hits / n, low, high), abs=5e-5)


def test_newcombe_is_the_published_interval() -> None:
    # Newcombe 1998 (differences), method 10: 56/70 against 48/80 gives 0.0524 to 0.3339
    first, second = (statistics.wilson(np.r_[np.ones(a), np.zeros(n - a)]) for a, n in ((56, 70), (48, 80)))
    assert statistics.newcombe(first, second) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_bootstrap_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        found = statistics.bootstrap(rng.uniform(size=40), lambda means: means, rng, draws=400)
        assert found.low <= found.value <= found.high
        inside += found.low <= 0.5 <= found.high
    assert 0.90 <= inside / 300 <= 0.98


def test_over_sets_draws_sets_and_needles() -> None:
    rng = np.random.default_rng(0)
    by_needle = np.tile(rng.integers(2, size=30).astype(float), (20, 1))
    by_set = np.tile(rng.integers(2, size=20).astype(float)[:, None], (1, 30))
    for values in (by_needle, by_set):
        found = statistics.over_sets(values, rng)
        assert found.value == pytest.approx(values.mean())
        assert found.high - found.low > 0.2
    assert statistics.over_sets(np.ones((3, 4)), rng) == pytest.approx((1, 1, 1))


def test_wider_holds_both() -> None:
    assert statistics.wider(Interval(0.5, 0.4, 0.5), Interval(0.5, 0.45, 0.7)) == (0.5, 0.4, 0.7)
