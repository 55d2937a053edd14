"""How numbers and remarks are worded."""

from __future__ import annotations

import pytest

from workbench.words import sentence


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
