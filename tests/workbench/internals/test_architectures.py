"""Which kinds exist where: the table, what a model has of it, and what an unknown architecture is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conftest import TINY, build, hooked, tiny
from workbench.errors import SiteError
from workbench.internals.sites import KINDS, Site

SMALL = TINY["llama"][1]
ADDED = {"resid_mid", "attn_out", "mlp_out"}


def test_every_kind_exists_but_where_the_architecture_has_none(architecture: str) -> None:
    absent = {"gpt2": {"q_rot", "k_rot"}, "gpt_neox": {"resid_mid"}}.get(architecture, set())
    assert set(hooked(tiny(architecture)).kinds) == set(KINDS) - absent


@pytest.mark.parametrize(
    ("name", "site", "says"),
    [
        ("gpt2", "q_rot.1", "'q_rot' does not exist in gpt2: it has no rotation.*there is: embed, resid_pre"),
        ("gpt_neox", "resid_mid.1", "'resid_mid' does not exist in gpt_neox: .*parallel residual"),
    ],
)
def test_what_does_not_exist_is_an_answer(name: str, site: str, says: str) -> None:
    with pytest.raises(SiteError, match=says):
        hooked(tiny(name)).capture([1, 2], site)


def test_the_sizes_are_the_models_own(architecture: str) -> None:
    model = tiny(architecture)
    shape = hooked(model).shape
    assert (shape.layers, shape.heads, shape.vocabulary, shape.context) == (3, 4, 61, 64)
    assert shape.kv_heads == getattr(model.config, "num_key_value_heads", 4)
    assert shape.d_model == model.get_input_embeddings().weight.shape[1]


UNKNOWN: dict[str, tuple[str, dict[str, Any], set[str], bool]] = {
    # class stem, settings, kinds that are not served, whether attention is at the seam
    "gemma3 (sandwich norms)": ("Gemma3", {**SMALL, "sliding_window": 4}, set(), True),
    "smollm3 (a layer without rotation)": ("SmolLM3", {**SMALL, "no_rope_layers": [1, 0, 1]}, set(), True),
    "cohere (parallel residual)": ("Cohere", SMALL, {"resid_mid"}, True),
    "granite (residual multiplier)": ("Granite", {**SMALL, "residual_multiplier": 0.3}, ADDED, True),
    "olmo2 (norms after, not before)": ("Olmo2", SMALL, set(), True),
    "mixtral (experts)": ("Mixtral", {**SMALL, "num_local_experts": 4}, {"mlp_pre", "mlp_post"}, True),
    "gpt-oss (sinks)": (
        "GptOss",
        {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2},
        {"scores", "mlp_pre", "mlp_post"},
        True,
    ),
    "bloom (another attention)": (
        "Bloom",
        {"vocab_size": 61, "hidden_size": 24, "n_layer": 3, "n_head": 4},
        {"q_rot", "k_rot", "mlp_pre", "mlp_post"},
        False,
    ),
}


@pytest.mark.parametrize("which", UNKNOWN)
def test_an_unknown_architecture_serves_what_holds_and_refuses_the_rest(which: str) -> None:
    stem, settings, missing, seam = UNKNOWN[which]
    model = build(stem, settings)
    ids = torch.tensor([[5, 17, 3, 44, 9, 58]])
    with torch.no_grad():
        before = model(ids, output_hidden_states=True)
    wrapped = hooked(model)
    assert set(wrapped.kinds) == set(KINDS) - missing
    assert (wrapped.engine.implementation == "workbench") is seam
    seen = wrapped.capture(ids, ["resid_pre.2", "resid_post.0"], logits=True)
    torch.testing.assert_close(seen.logits, before.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen["resid_pre.2"], before.hidden_states[2], rtol=1e-4, atol=1e-4)
    for kind in missing:
        with pytest.raises(SiteError, match=f"'{kind}' does not exist in "):
            wrapped.capture(ids, Site(kind, 1))


def test_a_refusal_says_what_did_not_hold() -> None:
    model = hooked(build("Granite", {**SMALL, "residual_multiplier": 0.3}))
    with pytest.raises(SiteError, match=r"block \d multiplies what self_attn and mlp give by 0\.3 before"):
        model.capture([1, 2], "attn_out.1")
