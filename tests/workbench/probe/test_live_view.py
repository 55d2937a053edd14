"""One number that is turned: its named values are meant exactly, and every value is asked once."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.errors import Cancelled
from workbench.probe.live_view import Answer, SliderRange, SteeredPrompt
from workbench.progress import Reporter

SCALE = SliderRange(-3.0, 3.0, 0.1, {"high": 1.23, "low": -1.0})


class Echo(SteeredPrompt):
    """Answers with the value, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__(SCALE, 3)
        self.asked: list[float | None] = []

    def _ask(self, session: Any, value: float | None, progress: Reporter | None) -> Answer:
        self.asked.append(value)
        return Answer(f"at {value}")


@pytest.mark.parametrize(
    ("value", "meant"),
    [(1.23, 1.23), (1.2, 1.23), (1.27, 1.23), (1.3, 1.3), (-0.96, -1.0), (0.0, 0.0), (9.0, 3.0), (-9.0, -3.0)],
)
def test_a_value_near_a_named_one_is_that_one(value: float, meant: float) -> None:
    assert SCALE.nearest(value) == meant


def test_values_have_their_names() -> None:
    assert [SCALE.name(value) for value in (1.23, -1.0, 0.0, None)] == ["high", "low", "", ""]


def test_every_value_is_asked_once_and_listed_in_order() -> None:
    turning = Echo()
    turning.begin(None)  # type: ignore[arg-type]
    assert turning.asked == [None, 1.23, -1.0]
    for value in (1.21, 0.5, None, 0.5):
        turning.answer(None, value)  # type: ignore[arg-type]
    assert turning.asked == [None, 1.23, -1.0, 0.5]
    rows = [("", None), ("low", -1.0), ("", 0.5), ("high", 1.23)]
    assert turning.rows() == [(name, value, Answer(f"at {value}")) for name, value in rows]
    assert turning.figure() is None


def test_the_first_answers_can_be_cancelled() -> None:
    reporter = Reporter()
    reporter.cancelled.set()
    with pytest.raises(Cancelled):
        Echo().begin(None, reporter)  # type: ignore[arg-type]
