"""Edits of positions: what a model gives when it is told these positions itself."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import hooked, relative, tiny
from tests.workbench.internals.edited_reference import Dense, run
from workbench.errors import UsageError
from workbench.internals import edits

ROTATING = ("llama", "qwen2", "mistral", "gemma2", "gpt_neox", "phi3")
ROW = [5, 17, 3, 44, 9, 58, 23, 31, 7, 12, 40, 21]


@pytest.mark.parametrize("name", [*ROTATING, "gpt2"])
def test_positions_are_those_that_a_model_is_given(name: str) -> None:
    places = [0, 1, 2, 3, 9, 10, 11, 20, 21, 22, 23, 40]
    expected, patterns = run(name, ROW, Dense(), torch.tensor([places]))
    asked = ["resid_post.2"] if name == "gpt2" else ["pattern.*"]
    seen = hooked(tiny(name, torch.float64)).capture(ROW, asked, logits=True, edits=edits.set_positions(places))
    assert seen.logits is not None
    assert relative(seen.logits, expected) < 1e-5
    if name != "gpt2":
        for layer, pattern in patterns.items():
            torch.testing.assert_close(seen[f"pattern.{layer}"], pattern, rtol=1e-4, atol=1e-5)
    assert relative(run(name, ROW, Dense())[0], expected) > 1e-3


@pytest.mark.parametrize("name", ROTATING)
def test_moving_all_tokens_alike_changes_nothing(name: str) -> None:
    model = hooked(tiny(name, torch.float64))
    moved = model.logits(ROW, edits=edits.shift_positions(100))
    assert relative(moved, model.logits(ROW)) < 1e-5


@pytest.mark.parametrize("name", ROTATING)
def test_interpolated_positions_are_divided(name: str) -> None:
    places = torch.arange(len(ROW))[None] / 4
    expected, _ = run(name, ROW, Dense(), places)
    found = hooked(tiny(name, torch.float64)).logits(ROW, edits=edits.interpolate_positions(4.0))
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_positions_of_one_head_leave_the_others(name: str) -> None:
    model = hooked(tiny(name, torch.float64))
    made = edits.step_positions(2.0, layers=[1], heads=[2])
    before, after = (model.capture(ROW, "pattern.1", edits=one)["pattern.1"][0] for one in ((), made))
    assert torch.equal(before[[0, 1, 3]], after[[0, 1, 3]])
    assert (before[2] - after[2]).abs().max() > 1e-3
    everything = model.capture(ROW, "pattern.1", edits=edits.step_positions(2.0, layers=[1]))["pattern.1"][0]
    torch.testing.assert_close(everything[2], after[2], rtol=1e-9, atol=1e-9)


def test_generation_with_other_positions_is_that_of_whole_texts() -> None:
    model = hooked(tiny("llama", torch.float64))
    made = edits.step_positions(1.5)
    text = list(ROW)
    for _ in range(4):
        text.append(int(model.logits(text, [-1], edits=edits.step_positions(1.5))[0, 0].argmax()))
    assert model.generate(ROW, 4, made, stop=()).rows() == [text[len(ROW) :]]


def test_a_position_that_is_not_learned_is_told() -> None:
    with pytest.raises(UsageError, match="learned positions 0 to 63"):
        hooked(tiny("gpt2")).logits(ROW, edits=edits.shift_positions(60))
