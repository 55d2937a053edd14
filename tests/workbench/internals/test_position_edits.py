"""Edits of positions: what a model gives when it is told these positions itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

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


def turned(x: Tensor, places: Tensor, frequencies: Tensor) -> Tensor:
    """Vectors `[…, position, d]` rotated to these places, their first half against their second."""
    angle = places[:, None].double() * frequencies.double()
    one, two = x.chunk(2, dim=-1)
    return torch.cat([one * angle.cos() - two * angle.sin(), one * angle.sin() + two * angle.cos()], dim=-1)


def frequencies_of(name: str) -> Tensor:
    return tiny(name, torch.float64).model.rotary_emb.inv_freq.double()


def run_with(name: str, frequencies: Tensor) -> Tensor:
    """Logits of a tiny model whose queries and keys turn at these frequencies instead of its own."""
    own, places = frequencies_of(name), torch.arange(len(ROW))

    def rotate(layer: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(turned(turned(x, -places, own), places, frequencies) for x in (q, k))  # type: ignore[return-value]

    return run(name, ROW, Dense(rotate=rotate))[0]


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2"])
def test_ntk_is_a_larger_base_of_the_rotation(name: str) -> None:
    model = tiny(name, torch.float64)
    d, base = 2 * len(frequencies_of(name)), model.config.rope_parameters["rope_theta"]
    larger = base * 8 ** (d / (d - 2))
    expected = run_with(name, larger ** (-torch.arange(0, d, 2).double() / d))
    found = hooked(model).logits(ROW, edits=edits.ntk_frequencies(8.0))
    assert relative(found, expected) < 1e-5
    assert relative(run(name, ROW, Dense())[0], expected) > 1e-4


@pytest.mark.parametrize("length", [7.0, 100.0, 3000.0])
def test_truncated_frequencies_stay_slow_down_or_stop(length: float) -> None:
    own, least = frequencies_of("llama"), 2 * math.pi / length
    kept = [float(one) if one >= least else least / 16 if one > least / 8 else 0.0 for one in own]
    found = hooked(tiny("llama", torch.float64)).logits(ROW, edits=edits.truncate_frequencies(length))
    assert relative(found, run_with("llama", torch.tensor(kept))) < 1e-5
    assert kept != own.tolist() or length > 2 * math.pi / float(own.min())


@pytest.mark.parametrize("name", ["llama", "qwen2"])
@pytest.mark.parametrize(("group", "neighbours"), [(2, 4), (3, 5), (4, 1)])
def test_self_extend_sees_far_keys_in_groups(name: str, group: int, neighbours: int) -> None:
    own, places = frequencies_of(name), torch.arange(len(ROW))
    far: dict[int, Tensor] = {}

    def rotate(layer: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        grouped = places // group
        keys = turned(turned(k, -places, own), grouped, own)
        queries = turned(turned(q, -places, own), grouped + neighbours - neighbours // group, own)
        far[layer] = queries @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
        return q, k

    def scores(layer: int, near: Tensor) -> Tensor:
        return torch.where(places[:, None] - places >= neighbours, far[layer], near)

    expected, patterns = run(name, ROW, Dense(rotate=rotate, scores=scores))
    model, made = hooked(tiny(name, torch.float64)), edits.self_extend(group, neighbours)
    seen = model.capture(ROW, ["pattern.*"], logits=True, edits=made)
    assert seen.logits is not None and relative(seen.logits, expected) < 1e-5
    for layer, pattern in patterns.items():
        torch.testing.assert_close(seen[f"pattern.{layer}"], pattern, rtol=1e-4, atol=1e-5)
    assert relative(run(name, ROW, Dense())[0], expected) > 1e-4


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_positions_of_one_head_leave_the_others(name: str) -> None:
    model = hooked(tiny(name, torch.float64))
    made = edits.step_positions(2.0, layers=[1], heads=[2])
    before, after = (model.capture(ROW, "pattern.1", edits=one)["pattern.1"][0] for one in ((), made))
    assert torch.equal(before[[0, 1, 3]], after[[0, 1, 3]])
    assert (before[2] - after[2]).abs().max() > 1e-3
    everything = model.capture(ROW, "pattern.1", edits=edits.step_positions(2.0, layers=[1]))["pattern.1"][0]
    torch.testing.assert_close(everything[2], after[2], rtol=1e-9, atol=1e-9)


GENERATING = {
    "step": edits.step_positions(1.5),
    "ntk": edits.ntk_frequencies(4.0),
    "truncated": edits.truncate_frequencies(50.0),
    "self-extend": edits.self_extend(3, 4),
}


@pytest.mark.parametrize("made", GENERATING.values(), ids=GENERATING)
def test_generation_with_other_positions_is_that_of_whole_texts(made: edits.PositionEdit) -> None:
    model = hooked(tiny("llama", torch.float64))
    text = list(ROW)
    for _ in range(4):
        text.append(int(model.logits(text, [-1], edits=made)[0, 0].argmax()))
    assert model.generate(ROW, 4, made, stop=()).rows() == [text[len(ROW) :]]


def test_a_position_that_is_not_learned_is_told() -> None:
    with pytest.raises(UsageError, match="learned positions 0 to 63"):
        hooked(tiny("gpt2")).logits(ROW, edits=edits.shift_positions(60))
