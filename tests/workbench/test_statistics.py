"""Intervals and tests: published numbers, closed forms, and coverage on simulated data."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from workbench import statistics
from workbench.statistics import Interval


def test_wilson_is_the_published_interval() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert statistics.wilson(hits / n, n) == pytest.approx((hits / n, low, high), abs=5e-5)
    assert statistics.wilson(1.0, 7).high == 1.0 and statistics.wilson(0.0, 7).low == 0.0


def test_the_normal_quantile_is_that_of_the_level() -> None:
    assert math.erf(statistics.Z / math.sqrt(2)) == pytest.approx(statistics.LEVEL, abs=1e-15)


def test_newcombe_is_the_published_interval() -> None:
    # Newcombe 1998 (differences), method 10: 56/70 against 48/80 gives 0.0524 to 0.3339
    first, second = statistics.wilson(56 / 70, 70), statistics.wilson(48 / 80, 80)
    assert statistics.newcombe(first, second) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_wilson_covers_about_as_often_as_it_says() -> None:
    for share in (0.1, 0.3, 0.5):
        n = 40
        chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
        inside = [statistics.wilson(k / n, n).low <= share <= statistics.wilson(k / n, n).high for k in range(n + 1)]
        assert 0.92 <= sum(chance for chance, yes in zip(chances, inside, strict=True) if yes) <= 0.98


def test_bootstrap_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        found = statistics.bootstrap(rng.uniform(size=40), lambda means: means, rng, draws=400)
        assert found.low <= found.value <= found.high
        inside += found.low <= 0.5 <= found.high
    assert 0.90 <= inside / 300 <= 0.98


def test_only_whole_clusters_cover_where_their_items_agree() -> None:
    """Twelve items of each cluster share most of their value: drawing items alone is far too sure."""
    rng = np.random.default_rng(1)
    names = np.repeat([f"cluster {place}" for place in range(30)], 12)
    inside = {"clusters": 0, "items": 0}
    for _ in range(100):
        values = np.repeat(rng.standard_normal(30), 12) + 0.1 * rng.standard_normal(360)
        for how, clusters in (("clusters", names), ("items", None)):
            found = statistics.bootstrap_mean(values, rng, clusters, draws=200)
            inside[how] += found.low <= 0 <= found.high
    assert 0.86 <= inside["clusters"] / 100 <= 0.99
    assert inside["items"] / 100 < 0.6


def test_clusters_are_drawn_whole_and_a_single_one_leaves_no_width() -> None:
    rng = np.random.default_rng(2)
    counts = statistics.resample(5, rng, ["b", "a", "b", "c", "a"], draws=50)
    assert (counts[:, 0] == counts[:, 2]).all() and (counts[:, 1] == counts[:, 4]).all()
    assert (counts[:, [0, 1, 3]].sum(1) == 3).all()
    assert statistics.bootstrap_mean(np.array([0.0, 1.0]), rng, ["one", "one"]) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="2 clusters were given for 3 entries"):
        statistics.bootstrap_mean(np.zeros(3), rng, ["a", "b"])


def test_a_bootstrap_has_the_width_of_the_plug_in_variance() -> None:
    """The spread of bootstrap means is the standard deviation over √n, in closed form."""
    values = np.random.default_rng(3).standard_normal(200)
    found = statistics.bootstrap_mean(values, np.random.default_rng(4), draws=20_000)
    half = statistics.Z * values.std() / math.sqrt(200)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.03)


def test_every_axis_is_drawn_again() -> None:
    rng = np.random.default_rng(0)
    by_item = np.tile(rng.integers(2, size=30).astype(float), (20, 1))
    by_set = np.tile(rng.integers(2, size=20).astype(float)[:, None], (1, 30))
    for values in (by_item, by_set):
        found = statistics.bootstrap_mean(values, rng)
        assert found.value == pytest.approx(values.mean())
        assert found.high - found.low > 0.2
    assert statistics.bootstrap_mean(np.ones((3, 4)), rng) == (1, 1, 1)
    assert statistics.bootstrap_mean(np.full((3, 7), 0.1), rng) == (pytest.approx(0.1), 0.1, 0.1)


def test_cells_have_the_interval_that_each_has_alone() -> None:
    values = np.random.default_rng(5).uniform(size=(12, 2, 3))
    names = list("aabbccddeeff")
    low, high = statistics.mean_bounds(values, np.random.default_rng(6), names)
    for cell in product(range(2), range(3)):
        alone = statistics.bootstrap_mean(values[:, *cell], np.random.default_rng(6), names)
        assert (low[cell], high[cell]) == pytest.approx(alone[1:])


def test_missing_entries_are_left_out_of_their_cell() -> None:
    values = np.random.default_rng(7).uniform(size=(9, 3))
    values[3:, 1], values[:, 2] = np.nan, np.nan
    low, high = statistics.mean_bounds(values, np.random.default_rng(8))
    counts = statistics.resample(9, np.random.default_rng(8))[:, :3]
    counts = counts[counts.sum(1) > 0]
    assert (low[1], high[1]) == pytest.approx(
        np.quantile(counts @ values[:3, 1] / counts.sum(1), [0.025, 0.975]).tolist()
    )
    assert np.isnan(low[2]) and np.isnan(high[2]) and np.isfinite(low[0])


def test_any_statistic_of_drawn_entries_has_an_interval() -> None:
    values = np.random.default_rng(9).standard_normal(50)
    found = statistics.bootstrap_entries(lambda places: float(values[places].mean()), 50, np.random.default_rng(10))
    assert found == pytest.approx(statistics.bootstrap_mean(values, np.random.default_rng(11))[1:], abs=0.05)
    some = statistics.bootstrap_entries(lambda places: places[0] or math.nan, 2, np.random.default_rng(12))
    assert some == (1, 1)
    assert statistics.bootstrap_entries(lambda places: math.nan, 3, np.random.default_rng(13)) is None


def test_a_paired_difference_is_narrower_than_the_parts() -> None:
    rng = np.random.default_rng(14)
    first = rng.standard_normal(40)
    second = first - 0.5 + 0.01 * rng.standard_normal(40)
    found = statistics.paired_difference(first, second, rng)
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.high - found.low < 0.02
    with pytest.raises(ValueError, match="equal shapes"):
        statistics.paired_difference(first, second[:3], rng)


def test_wider_holds_both() -> None:
    assert statistics.wider(Interval(0.5, 0.4, 0.5), Interval(0.5, 0.45, 0.7)) == (0.5, 0.4, 0.7)


def test_a_share_of_clusters_that_agree_keeps_the_width_of_wilson() -> None:
    rng = np.random.default_rng(15)
    names = ["a", "a", "b", "c"]
    assert statistics.bootstrap_share(np.ones(4), rng, names) == statistics.wilson(1.0, 3)
    found = statistics.bootstrap_share(np.repeat([0, 1], 200), rng, np.repeat(range(4), 100).tolist())
    assert (found.low, found.high) == (0, 1)


def test_intervals_count_clusters_and_not_items() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(np.arange(20) % 2, 10)
    few = statistics.bootstrap_share(values, rng, np.repeat(np.arange(20), 10).tolist())
    many = statistics.bootstrap_share(values, rng)
    assert few.value == many.value == 0.5
    assert few.high - few.low > 2.5 * (many.high - many.low)
    sure = statistics.bootstrap_share(np.ones(30), rng)
    assert sure.value == sure.high == 1 and 0.85 < sure.low < 0.95


def test_the_sign_test_is_the_binomial_distribution() -> None:
    # 8 of 8: 2 / 2⁸; 9 of 10: 2 · 11 / 2¹⁰; ties do not count; nothing but ties tells nothing
    eight = np.r_[np.ones(8), 0, 0]
    nine = np.r_[np.ones(9), -1]
    assert statistics.sign_test(np.stack([eight, nine, np.zeros(10)], 1)) == pytest.approx([2 / 256, 22 / 1024, 1])
    # McNemar's exact test with 2 and 12 discordant pairs
    pairs = np.r_[np.ones(12), -np.ones(2), np.zeros(30)]
    assert float(statistics.sign_test(pairs)) == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert float(statistics.sign_test(np.r_[np.ones(5), -np.ones(5)])) == 1.0


def test_the_sign_flip_test_goes_through_every_sign_of_few_pairs() -> None:
    differences = np.array([[1.0, 3.0], [2.0, -2.0], [4.0, 0.5]])
    expected = []
    for cell in differences.T:
        means = [abs(sum(s * d for s, d in zip(signs, cell, strict=True))) for signs in product((1, -1), repeat=3)]
        expected.append(np.mean([mean >= abs(cell.sum()) - 1e-12 for mean in means]))
    found = statistics.sign_flip_test(differences, np.random.default_rng(0))
    assert found.tolist() == expected and expected[0] == 2 / 8


def test_the_sign_flip_test_flips_whole_clusters() -> None:
    values = np.repeat([1.0, 1.0, 1.0], 8)
    names = np.repeat(["a", "b", "c"], 8)
    rng = np.random.default_rng(0)
    assert float(statistics.sign_flip_test(values, rng, names)) == 2 / 8
    assert float(statistics.sign_flip_test(values, rng)) == 1 / (statistics.DRAWS + 1)


def test_the_sign_flip_test_rejects_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    for pairs in (10, 30):
        p = statistics.sign_flip_test(rng.standard_normal((pairs, 2000)), rng)
        for level in (0.01, 0.05, 0.2):
            assert (p <= level).mean() <= level + 3 * math.sqrt(level * (1 - level) / 2000)
        assert (p <= 0.05).mean() > 0.03


def test_holm_and_benjamini_hochberg_are_what_their_papers_say() -> None:
    # by hand: sorted .005 .01 .03 .04
    p = np.array([[0.01, 0.04], [0.03, 0.005]])
    assert statistics.holm(p) == pytest.approx(np.array([[0.03, 0.06], [0.06, 0.02]]))
    assert statistics.benjamini_hochberg(p) == pytest.approx(np.array([[0.02, 0.04], [0.04, 0.02]]))
    # Benjamini and Hochberg 1995, section 4.1: 15 tests, of which Holm rejects 3 and the new procedure 4 at 0.05
    known = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    published = np.array([*known, 0.7590, 1.0])
    assert (statistics.holm(published) <= 0.05).sum() == 3
    assert (statistics.benjamini_hochberg(published) <= 0.05).sum() == 4
    gaps = np.array([0.02, np.nan, 0.01])
    assert statistics.holm(gaps) == pytest.approx(np.array([0.02, np.nan, 0.02]), nan_ok=True)
    assert statistics.benjamini_hochberg(gaps) == pytest.approx(np.array([0.02, np.nan, 0.02]), nan_ok=True)


def test_corrections_keep_their_promise_among_many_heads() -> None:
    """200 heads, 20 with an effect: the family-wise error and the false discovery rate, over 200 repetitions."""
    rng = np.random.default_rng(4)
    effect = np.r_[np.full(20, 3.5), np.zeros(180)]
    any_false, false_share, found = 0, [], []
    for _ in range(200):
        z = rng.standard_normal(200) + effect
        p = np.vectorize(lambda value: math.erfc(abs(value) / math.sqrt(2)))(z)
        any_false += bool((statistics.holm(p)[20:] <= 0.05).any())
        rejected = statistics.benjamini_hochberg(p) <= 0.05
        false_share.append(rejected[20:].sum() / max(1, rejected.sum()))
        found.append(rejected[:20].mean())
    assert any_false / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert np.mean(false_share) <= 0.05 + 0.02
    assert np.mean(found) > 0.5
