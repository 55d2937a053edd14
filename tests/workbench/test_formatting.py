"""How numbers and remarks are worded."""

from __future__ import annotations

import pytest

from workbench.formatting import percent, sentence


@pytest.mark.parametrize(
    ("remark", "said"),
    [
        ("one text was read", "One text was read."),
        ("Two texts were read.", "Two texts were read."),
        ("best_block rests on it", "best_block rests on it."),
        ("is it so?", "Is it so?"),
    ],
)
def test_a_remark_is_a_sentence(remark: str, said: str) -> None:
    assert sentence(remark) == said


@pytest.mark.parametrize(
    ("part", "said"), [(0.0031, "0.31%"), (0.809, "81%"), (1.0, "100%"), (0.0, "0%"), (4e-6, "0.0004%")]
)
def test_a_small_share_is_not_nothing(part: float, said: str) -> None:
    assert percent(part) == said
