"""An attention function of the user's own is kept, named, and never replaced."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import workbench as wb
from tests.conftest import tiny
from workbench.errors import SiteError
from workbench.internals.own_attention import own_attention

IDS = [3, 1, 4, 1, 5, 9, 2, 6] * 4


def first_and_last(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float | None = None, **_: Any) -> Any:
    """Two first tokens and a window of ten: what a text of eight tokens does not show."""
    query, key = torch.arange(k.shape[2] - q.shape[2], k.shape[2])[:, None], torch.arange(k.shape[2])[None]
    seen = (key <= query) & ((key < 2) | (query - key < 10))
    return sdpa_attention_forward(module, q, k, v, seen[None, None], scaling=scaling, is_causal=False)


@pytest.fixture
def registered() -> Iterator[None]:
    before = ALL_ATTENTION_FUNCTIONS["sdpa"], ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
    AttentionInterface.register("first-and-last", first_and_last)
    AttentionMaskInterface.register("first-and-last", sdpa_mask)
    yield
    AttentionInterface.register("sdpa", before[0])
    AttentionMaskInterface.register("sdpa", before[1])
    del AttentionInterface._global_mapping["first-and-last"], AttentionMaskInterface._global_mapping["first-and-last"]


def own_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits


@pytest.mark.parametrize("engine", ["hf", "nnsight"])
def test_its_logits_are_the_models_own(registered: None, engine: str) -> None:
    model = tiny("llama")
    usual = own_logits(model)
    model.set_attn_implementation("first-and-last")
    expected = own_logits(model)
    assert not torch.allclose(usual, expected, atol=1e-2)
    session = wb.load(model, engine)
    assert torch.allclose(session.logits(IDS), expected, atol=1e-5)
    assert "first_and_last" in session.info.attention and session.info.state
    with pytest.raises(SiteError, match=r"first-and-last.*kept"):
        session.capture(IDS, "pattern.1")
    with pytest.raises(SiteError):
        session.attention_statistics(IDS)
    assert session.capture(IDS, "attn_out.1")["attn_out.1"].shape == (1, len(IDS), 24)


def test_one_that_is_set_after_loading_is_kept_from_then_on(registered: None) -> None:
    model = tiny("llama")
    session = wb.load(model)
    usual = session.logits(IDS)
    model.set_attn_implementation("first-and-last")
    assert torch.allclose(session.logits(IDS), own_logits(model), atol=1e-5)
    model.set_attn_implementation("sdpa")
    assert torch.allclose(session.logits(IDS), usual, atol=1e-5)
    assert session.capture(IDS, "pattern.1")["pattern.1"].shape[1] == 4


def test_a_wrapper_that_takes_over_the_name_and_the_looks_of_sdpa(registered: None) -> None:
    inner = ALL_ATTENTION_FUNCTIONS["sdpa"]

    @functools.wraps(inner)
    def wrapper(module: Any, q: Any, k: Any, v: Any, mask: Any, **options: Any) -> Any:
        return first_and_last(module, q, k, v, mask, options.get("scaling"))

    model = tiny("llama")
    session = wb.load(model)
    assert own_attention(model) is None
    AttentionInterface.register("sdpa", wrapper)
    assert torch.allclose(session.logits(IDS), own_logits(model), atol=1e-5)
    assert own_attention(model) is not None


def test_a_mask_function_of_ones_own_counts_too(registered: None) -> None:
    AttentionMaskInterface.register("sdpa", lambda *arguments, **options: sdpa_mask(*arguments, **options))
    assert own_attention(tiny("llama")) is not None


def test_two_of_the_same_name_are_not_one_model(registered: None) -> None:
    model = tiny("llama")
    model.set_attn_implementation("first-and-last")
    first, second = (wb.load(model).info for _ in range(2))
    assert first.fingerprint == second.fingerprint and first.state_sha256 != second.state_sha256
