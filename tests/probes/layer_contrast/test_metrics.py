"""Metrics on cases small enough to count by hand."""

from __future__ import annotations

import math

import pytest

from workbench.probes.layer_contrast.metrics.answers import exact_match, f1, normalised
from workbench.probes.layer_contrast.metrics.choices import choice, completion
from workbench.probes.layer_contrast.metrics.copying import novel, repetition


def test_the_three_numbers_of_multiple_choice() -> None:
    found = choice([math.log(0.3), math.log(0.1)], [math.log(0.2), math.log(0.05)])
    assert found.mc1 == 1
    assert found.mc2 == pytest.approx(0.4 / 0.65)
    assert found.mc3 == 0.5
    assert found.halved == pytest.approx(0.4 / 0.65)
    assert choice([math.log(0.1), math.log(0.3)], [math.log(0.2)]).mc1 == 0
    assert choice([math.log(0.1), math.log(0.3)], [math.log(0.2)], best=1).mc1 == 1
    assert choice([0.0], [0.0]).mc1 == 0, "a tie is not above"


def test_halving_puts_two_sets_on_different_scales_and_the_log_sum_does_not() -> None:
    true, false = [-1000.0], [-700.0]
    found = choice(true, false)
    assert found.mc2 == pytest.approx(math.exp(-300))
    # only the true score underflows, is halved to −500, and wins
    assert found.halved == pytest.approx(1.0)
    assert choice([-2000.0], [-2001.0]).mc2 == pytest.approx(1 / (1 + math.exp(-1)))


def test_factor_by_mean_and_by_sum_where_they_disagree() -> None:
    assert completion([-10.0, -6.0], [10, 2]) == (1.0, 0.0)
    assert completion([-6.0, -10.0], [2, 10]) == (0.0, 1.0)
    assert completion([-6.0, -6.0], [3, 3]) == (1.0, 1.0), "of equals the first wins, and a tie of sums counts"
    with pytest.raises(ValueError, match="and others"):
        completion([-1.0], [1])


def test_exact_match_and_f1_as_squad_counts_them() -> None:
    assert normalised("The  Beatles'  'Help!'") == "beatles help"
    assert exact_match(" the Eiffel Tower.\nIt is in Paris", ["Eiffel tower"]) == 1
    assert exact_match("It is the Eiffel Tower", ["Eiffel Tower"]) == 0
    assert f1("It is the Eiffel Tower", ["Eiffel Tower"]) == pytest.approx(2 * 2 / (4 + 2))
    assert f1("nothing", ["Eiffel Tower"]) == 0
    assert f1("", ["x"]) == 0
    assert f1("Rome", ["Paris", "Rome"]) == 1


def test_novel_runs_and_repetition() -> None:
    assert novel("a cat sat here", "A cat sat there.") == pytest.approx(1 / 3)
    assert novel("one", "one") != novel("one", "one"), "no pair of words: not a number"
    assert repetition([1, 2, 1, 2, 1]) == pytest.approx(0.5)
    assert repetition([1, 2, 3]) == 0
