"""When the verdict on an answer stands before the answer does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.probes.context_knob.task.matching import decided, strict


@given(st.text("ab. ,\n\ufffd5", max_size=9), st.integers(0, 9), st.sampled_from(["a", "ab", "a b", "5"]))
def test_what_follows_changes_no_verdict_that_is_decided(said: str, length: int, gold: str) -> None:
    begun = said[:length]
    if decided(begun, gold):
        assert strict(begun, gold) == strict(said, gold)


@pytest.mark.parametrize("begun", ["Rome", "Paris is", "Parisian", "Paris. It", "Paris\nThe", "Paris.5", "Pariz"])
def test_decided(begun: str) -> None:
    assert decided(begun, "Paris")


@pytest.mark.parametrize("begun", ["", " ", "Par", "Paris", "Paris.", "Paris ", "Paris. ", "Par\ufffd", "Paris\n"])
def test_undecided(begun: str) -> None:
    assert not decided(begun, "Paris")
