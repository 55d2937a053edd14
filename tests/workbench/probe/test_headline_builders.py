"""Headlines and controls from intervals, and one way to write a share."""

from __future__ import annotations

from workbench.probe.headline_builders import against, control, headline, in_percent, wide_intervals
from workbench.probe.statistics import LEVEL, Interval

WORDS = {"unit": "share of needles", "split": "held-out", "method": "Wilson interval"}


def test_a_headline_holds_value_interval_and_control() -> None:
    beside = control("random heads", Interval(0.5, 0.25, 0.75), 8)
    made = headline("recall", Interval(0.0, 0.0, 0.3), 8, control=beside, **WORDS)
    assert (made.value, made.low, made.high, made.level, made.n) == (0.0, 0.0, 0.3, LEVEL, 8)
    assert made.control == beside and (beside.value, beside.low, beside.high, beside.n) == (0.5, 0.25, 0.75, 8)
    assert (made.unit, made.split, made.method) == tuple(WORDS.values())


def test_a_number_alone_has_no_interval_and_no_level() -> None:
    made = headline("entropy", 1.5, 1, **WORDS)
    assert (made.value, made.low, made.high, made.level) == (1.5, None, None, None)
    assert control("uniform attention", 0.25).n is None


def test_what_is_not_defined_says_so() -> None:
    made = headline("share", None, 0, control=control("chance", None), **WORDS)
    assert made.value is None and in_percent(made) == "an unknown share"
    assert against(made) == "there is nothing to compare it with"


def test_shares_have_two_digits_so_that_a_small_one_is_not_nothing() -> None:
    made = headline("recall", Interval(0.754, 0.0, 0.0421), 24, control=control("the knob", 0.0042), **WORDS)
    assert in_percent(made) == "75% (0% to 4.2%)"
    assert against(made) == "the knob: 0.42%"
    assert in_percent(control("all", 1.0)) == "100%"
    assert in_percent(control("far", Interval(0.1234, 0.12, 0.1264)), 3) == "12.3% (12% to 12.6%)"


def test_few_items_are_a_limit() -> None:
    assert wide_intervals(29, "held-out needles") == [
        "29 held-out needles: the intervals are wide; the preset full takes more"
    ]
    assert wide_intervals(30, "held-out needles") == []
