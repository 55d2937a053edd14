"""The bridge: the model's own attention under TransformerLens' names, and the standard one where that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conftest import hooked, tiny
from workbench.errors import UsageError, WorkbenchError
from workbench.internals.engines.transformerlens import TransformerLensEngine
from workbench.internals.hooked_model import HookedModel
from workbench.internals.session import load
from workbench.internals.sites import Site

IDS = [[5, 17, 3, 44, 9, 58, 23, 31, 7, 12]]


def engine(name: str, **options: Any) -> TransformerLensEngine:
    return TransformerLensEngine(tiny(name), **options)


def test_the_models_own_attention_runs(architecture: str) -> None:
    assert engine(architecture).native


def test_its_hook_names_give_what_the_sites_are(architecture: str) -> None:
    session = load(tiny(architecture))
    with torch.no_grad():
        logits, cache = session.bridge.run_with_cache(torch.tensor(IDS), return_type="logits")
    seen = session.capture(IDS, ["logits"])
    torch.testing.assert_close(logits, seen["logits"], rtol=1e-4, atol=1e-5)
    checked = set()
    for name, value in cache.items():
        try:
            site = Site.parse(name)
        except UsageError:
            continue
        if site.kind not in session.hooked.kinds:
            continue  # NeoX's ln2 reads what attention reads: there is no resid_mid
        if site.kind == "embed" and architecture == "gpt2":
            continue  # TransformerLens keeps token and position embeddings apart
        expected = session.capture(IDS, [site])[site]
        if site.kind == "scores":
            visible = session.capture(IDS, [f"pattern.{site.layer}"])[f"pattern.{site.layer}"] > 0
            value, expected = value[visible], expected[visible]
        if site.kind == "logits" and architecture == "gemma2":
            value = 30 * torch.tanh(value / 30)  # TransformerLens' point is before the softcap
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5, msg=name)
        checked.add(site.kind)
    kinds = set(session.engine("hf").kinds) - ({"embed"} if architecture == "gpt2" else set())
    assert checked == kinds


@pytest.mark.parametrize("point", ["hook_q", "hook_v", "hook_rot_k", "hook_attn_scores", "hook_pattern", "hook_z"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_a_hook_on_its_names_changes_the_model_as_on_the_standard_bridge(name: str, point: str) -> None:
    if name == "gpt2" and point == "hook_rot_k":
        return

    def change(value: torch.Tensor, hook: Any) -> torch.Tensor:
        return value * 0.5

    ours, standard = engine(name).wrapped, engine(name, native=False).wrapped
    hooks = [(f"blocks.1.attn.{point}", change)]
    with torch.no_grad():
        plain = ours(torch.tensor(IDS), return_type="logits")
        found = ours.run_with_hooks(torch.tensor(IDS), return_type="logits", fwd_hooks=hooks)
        expected = standard.run_with_hooks(torch.tensor(IDS), return_type="logits", fwd_hooks=hooks)
    if point == "hook_rot_k" and name == "gpt_neox":
        expected = _with_half_keys(name)
    assert (found - plain).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def _with_half_keys(name: str) -> torch.Tensor:
    """The standard bridge fires no rotated keys here: the same edit through plain hooks."""
    from workbench.internals import edits

    model = hooked(tiny(name))
    keys = model.capture(IDS, ["k_rot.1"])["k_rot.1"]
    return model.logits(IDS, edits=[edits.patch("k_rot.1", keys * 0.5)])


def test_weights_of_one_projection_are_seen_in_its_parts() -> None:
    for name in ("gpt2", "gpt_neox", "phi3", "llama"):
        ours, standard = engine(name).wrapped, engine(name, native=False).wrapped
        for weight in ("W_Q", "W_K", "W_V", "W_O"):
            assert torch.equal(getattr(ours, weight), getattr(standard, weight)), (name, weight)
        if name in ("gpt2", "gpt_neox"):
            for block, other in zip(ours.blocks, standard.blocks, strict=True):
                for bias in ("b_Q", "b_K", "b_V"):
                    assert torch.equal(getattr(block.attn, bias), getattr(other.attn, bias)), (name, bias)


def test_whole_maps_are_refused_on_long_prompts_and_nothing_else_is() -> None:
    bridge = engine("llama").wrapped
    ids = torch.randint(3, 61, (1, 4100))
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids, names_filter="blocks.0.attn.hook_rot_q", stop_at_layer=1)
        assert cache["blocks.0.attn.hook_rot_q"].shape == (1, 4100, 4, 8)
        with pytest.raises(UsageError, match=r"4100 × 4100.*names_filter"):
            bridge.run_with_cache(ids, names_filter="blocks.0.attn.hook_pattern", stop_at_layer=1)
    model = HookedModel(engine("llama"))
    rows = model.capture(ids, ["pattern.0"], positions=[-1])["pattern.0"]
    assert rows.shape == (1, 4, 1, 4100)
    torch.testing.assert_close(rows.sum(-1), torch.ones(1, 4, 1))


def test_the_standard_bridge_is_refused_on_long_prompts_with_the_reason() -> None:
    standard = engine("llama", native=False)
    with pytest.raises(UsageError, match="standard bridge, which holds 4100 × 4100 weights a head in every layer"):
        HookedModel(standard).capture(torch.randint(3, 61, (1, 4100)), ["resid_post.0"])


def test_the_standard_bridge_serves_what_agrees_and_says_why_the_rest_is_not() -> None:
    neox = engine("gpt_neox", native=False)
    assert {"q_rot", "k_rot"} == set(neox.refused)
    assert all("does not fire" in why for why in neox.refused.values())
    llama, reference = engine("llama", native=False), hooked(tiny("llama"))
    assert not llama.refused
    names = ["resid_post.2", "pattern.1", "q_rot.0"]
    found, expected = (model.capture(IDS, names, positions=[-1, 3]) for model in (HookedModel(llama), reference))
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_an_architecture_outside_the_table_is_verified() -> None:
    from tests.conftest import _GQA, build

    stablelm = TransformerLensEngine(build("StableLm", {k: v for k, v in _GQA.items() if k != "head_dim"}))
    assert stablelm.native and not stablelm.refused
    bloom = {"hidden_size": 24, "n_layer": 3, "n_head": 4, "vocab_size": 61}
    assert not TransformerLensEngine(build("Bloom", bloom)).native


def test_a_model_without_an_adapter_is_refused_with_what_to_do() -> None:
    model = tiny("llama")
    model.__class__ = type("UnheardOfForCausalLM", (model.__class__,), {})
    with pytest.raises(WorkbenchError, match=r"cannot wrap UnheardOfForCausalLM.*use the engine 'hf'"):
        TransformerLensEngine(model)


def test_compatibility_mode_is_noticed() -> None:
    made = engine("llama")
    made.wrapped.enable_compatibility_mode()
    with pytest.raises(WorkbenchError, match="compatibility mode"):
        HookedModel(made).capture(IDS, ["resid_post.1"])


def test_a_text_means_the_same_tokens_to_the_bridge(default_model: Any) -> None:
    text = "The capital of France is"
    assert default_model.bridge.to_tokens(text).tolist() == default_model.tokens(text).ids.tolist()
    assert default_model.tokenizer.padding_side == load_padding_side(default_model)


def load_padding_side(session: Any) -> str:
    """What the tokenizer's files say."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(session.tokenizer.name_or_path).padding_side
