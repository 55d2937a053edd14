"""Edits of attention give the same on every engine: in one pass with what is read there, and in generation."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import tiny
from workbench.internals import edits
from workbench.internals.attention_edits import AttentionEdit
from workbench.internals.session import Session, load

ROWS = [[5, 17, 3, 44, 9, 58, 23, 31, 7, 12], [8, 30, 41, 6], [27, 3, 19, 50, 33, 14, 60]]
MADE: dict[str, list[AttentionEdit]] = {
    "knock-out": [edits.knock_out([-1, 2], [1], [0, 2], [1, 2])],
    "window and weights": [edits.window(3, 1, layers=[1]), edits.scale_weights(0.5, None, [0], [2])],
    "scores": [edits.scale_scores(-1.5, None, [0, 1], [1]), edits.add_to_scores(0.7, [3], None, [2], [0])],
}


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def session(request: pytest.FixtureRequest) -> Session:
    return load(tiny(request.param))


@pytest.mark.parametrize("case", MADE)
@pytest.mark.parametrize("name", ["transformerlens", "nnsight"])
def test_engines_agree_on_edited_attention(session: Session, name: str, case: str) -> None:
    reference, other, made = session.engine("hf"), session.engine(name), MADE[case]
    sites = ["pattern.*", "z.*", "resid_post.2"]
    expected, found = (model.capture(ROWS, sites, logits=True, edits=made) for model in (reference, other))
    for site in expected:
        torch.testing.assert_close(found[site], expected[site], rtol=2e-5, atol=2e-5)
    assert expected.logits is not None
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)
    assert (expected.logits - reference.logits(ROWS)).abs().max() > 1e-3
    said = [model.generate(ROWS, 4, made, stop=()).rows() for model in (reference, other)]
    assert said[0] == said[1]
