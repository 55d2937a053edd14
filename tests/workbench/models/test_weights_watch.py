"""Weights that were written to are noticed without reading all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import tiny
from workbench.models.weights_watch import SAMPLE, WeightsWatch


def one_step(model: Any) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model(torch.tensor([[3, 1, 4]])).logits.sum().backward()
    optimiser.step()


def one_entry(model: Any) -> None:
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[17, 5] += 1e-3


@pytest.mark.parametrize(
    "change",
    [
        one_step,
        one_entry,
        lambda model: model.model.layers[0].self_attn.q_proj.weight.data.mul_(0),
        lambda model: model.model.norm.weight.data.add_(1e-3),
        lambda model: model.lm_head.weight.detach().numpy().__imul__(2),
        lambda model: setattr(model.lm_head.weight, "data", torch.zeros(61, 24)),
        lambda model: model.load_state_dict(tiny("llama").state_dict()),
        lambda model: model.half(),
    ],
)
def test_a_write_is_noticed(change: Callable[[Any], object]) -> None:
    model = tiny("llama")
    before = WeightsWatch(model)
    assert WeightsWatch(model) == before and not before.written()
    change(model)
    assert WeightsWatch(model) != before and before.written()


def test_reading_is_no_write() -> None:
    model = tiny("llama")
    before = WeightsWatch(model)
    model(torch.tensor([[3, 1, 4]])).logits.sum().backward()
    model.train().requires_grad_(False)
    assert WeightsWatch(model) == before


def test_what_may_escape_is_one_entry_behind_torchs_back() -> None:
    model = tiny("llama")
    before = WeightsWatch(model)
    weight = model.lm_head.weight.data.view(-1)
    assert len(weight) > 2 * SAMPLE
    weight[1] += 1  # between two sampled entries: what has to be certain reads every weight
    assert WeightsWatch(model) == before
    weight[0] += 1
    assert WeightsWatch(model) != before
