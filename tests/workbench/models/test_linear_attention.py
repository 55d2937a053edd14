"""Linear self-attention is its formula in plain loops, causal, and opens like every other model."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.internals.session import load
from workbench.models.linear_attention import LinearAttentionConfig


@pytest.fixture(scope="module")
def model() -> wb.ContinuousModel:
    shape = LinearAttentionConfig(hidden_size=6, num_hidden_layers=2, head_dim=5, max_position_embeddings=24)
    made = wb.ContinuousModel.of(shape, d_in=3, d_out=2).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for each in made.parameters():
            each.copy_(0.4 * torch.randn(each.shape, generator=generator))
    return made


def test_it_is_the_formula(model: wb.ContinuousModel) -> None:
    values = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    state = {name: each.double() for name, each in model.state_dict().items()}
    stream = values.double() @ state["read_in.weight"].T + state["read_in.bias"]
    stream = stream + state["causal.positions.weight"][:7]
    for layer in range(2):
        q, k, v, o = (state[f"causal.layers.{layer}.self_attn.{name}_proj.weight"] for name in "qkvo")
        new = stream.clone()
        for i in range(7):
            for j in range(i + 1):
                new[i] += o @ (v @ stream[j]) * ((k @ stream[j]) @ (q @ stream[i]))
        stream = new
    expected = stream @ state["causal.lm_head.weight"].T + state["causal.lm_head.bias"]
    torch.testing.assert_close(load(model).logits(values)[0].double(), expected, rtol=1e-5, atol=1e-5)


def test_rows_of_several_lengths_are_as_each_by_itself(model: wb.ContinuousModel) -> None:
    session = load(model)
    rows = [torch.randn(length, 3) for length in (4, 9)]
    together = session.logits(rows)
    for place, row in enumerate(rows):
        torch.testing.assert_close(together[place, : len(row)], session.logits(row)[0], rtol=1e-5, atol=1e-6)


def test_it_has_the_sites_of_a_stream_and_says_what_it_lacks(model: wb.ContinuousModel) -> None:
    session = load(model)
    assert set(session.hooked.kinds) == {"embed", "resid_pre", "resid_post", "logits"}
    with pytest.raises(WorkbenchError, match="attn_out"):
        session.capture(torch.zeros(1, 3, 3), "attn_out.0")
    with pytest.raises(WorkbenchError, match="TransformerLens cannot wrap"):
        session.logits(torch.zeros(1, 3, 3), engine="transformerlens")
