"""One number is written in one way, wherever it is read."""

from __future__ import annotations

import pytest

from workbench.records import describe
from workbench.records.record import Control, Headline
from workbench.reports import headlines

VALUES = [
    (0.07778, 0.06667, 0.08519),
    (-0.5, -0.75, 0.0),
    (1234.0, 1000.4, 12345678.0),
    (2.7e-8, -1e-13, 1e-7),
    (3.125, None, None),
    (None, None, None),
]


@pytest.mark.parametrize(("value", "low", "high"), VALUES)
def test_a_headline_reads_the_same_in_a_notebook_a_terminal_and_a_report(
    value: float | None, low: float | None, high: float | None
) -> None:
    control = Control(name="random heads", value=value, low=low, high=high, n=3)
    one = Headline(name="a", value=value, low=low, high=high, n=3, unit="nats", split="s", method="m", control=control)
    row = headlines.row(one.model_dump(mode="json"))
    interval = row.interval.removesuffix(" 95 %")
    assert describe.number(one) == " ".join(filter(None, [row.value, interval, "nats"])).replace(
        "not defined nats", "not defined"
    )
    assert describe.control(one) == " ".join(filter(None, ["random heads", row.control_value, row.control_interval]))
    assert describe.number(one) in str(one._repr_mimebundle_()["text/plain"])


def test_numbers_have_three_digits_and_a_minus_that_is_one() -> None:
    assert [describe.digits(value) for value in (0.1235, -0.5, 40, -1234.0, 1e-15, float("nan"), None)] == [
        "0.123", "−0.5", "40", "−1,234", "0", "not defined", "not defined",
    ]  # fmt: skip
    assert describe.interval(-0.25, 0.5) == "[−0.25, 0.5]" and describe.interval(None, 0.5) == ""
