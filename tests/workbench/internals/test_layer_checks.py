"""The check at load: nothing is served that is something else, in any type, and the model is left as it was."""

from __future__ import annotations

import copy

import pytest
import torch

import workbench as wb
from tests.conftest import TINY, build, hooked, tiny
from workbench.errors import SiteError, UsageError, WorkbenchError
from workbench.internals import attention, check_text
from workbench.internals.engines.hf import HfEngine
from workbench.internals.float32_run import in_float32

SIZES = TINY["llama"][1]
IDS = torch.tensor([[5, 17, 3, 44, 9, 58, 23, 31]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stream", [1.0, 100.0])
def test_what_is_served_does_not_depend_on_the_type_or_the_size_of_the_stream(
    dtype: torch.dtype, stream: float
) -> None:
    for stem, changes in (("Granite", {"residual_multiplier": 0.2}), ("Olmo2", {}), ("Cohere", {})):
        exact = hooked(build(stem, {**SIZES, **changes})).kinds
        model = build(stem, {**SIZES, **changes})
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(stream)
        assert hooked(model.to(dtype)).kinds == exact


def test_weights_are_the_same_tensors_after_a_run_in_float32() -> None:
    model = tiny("llama", torch.bfloat16)
    blocks = list(model.model.layers)
    before = {name: (p.data_ptr(), p.dtype, p.clone()) for name, p in model.named_parameters()}
    with torch.no_grad(), in_float32(blocks):
        seen: list[torch.dtype] = []
        blocks[1].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
        with pytest.raises(TypeError, match="stop"):
            blocks[2].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(TypeError("stop")))
            model(IDS)
    assert seen == [torch.float32]
    for name, parameter in model.named_parameters():
        pointer, dtype, value = before[name]
        assert parameter.data_ptr() == pointer and parameter.dtype == dtype and torch.equal(parameter, value)


def test_bounds_that_a_short_text_does_not_reach_are_lowered_and_put_back() -> None:
    model = tiny("mistral", sliding_window=5000)
    with check_text.lowered(model, 24) as far:
        assert far == {"sliding_window": 5000} and model.config.sliding_window == check_text.LOWERED
    assert model.config.sliding_window == 5000
    assert [layer.reach for layer in hooked(model).architecture.layers] == [5000] * 3
    assert {layer.kind for layer in hooked(tiny("llama")).architecture.layers} == {"full"}


def test_an_option_that_attention_does_not_know_is_refused_by_name() -> None:
    q = torch.randn(1, 2, 3, 4)
    module = torch.nn.Linear(2, 2)
    known = {"dropout": 0.0, "position_ids": torch.arange(3), "use_cache": True}
    assert attention.Call.of(module, q, q, q, None, **known, other=None).q is q
    with pytest.raises(attention.Unsupported, match="Linear gives its attention keep_first, which this attention"):
        attention.Call.of(module, q, q, q, None, keep_first=3)


def test_a_projection_that_is_not_the_heads_own_is_not_served() -> None:
    model = tiny("llama")
    block = model.model.layers[1].self_attn
    turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(1))).Q
    block.v_proj.register_forward_hook(lambda _, __, output: output.flip(-1))
    block.q_proj.register_forward_hook(lambda _, __, output: output @ turn)
    session = wb.load(model)
    own = session.hooked.architecture.layers[1]
    assert "q" in own.places  # the hook is part of the projection, and its heads are what attention is given
    seen = session.capture(IDS, ["v.1", "z.1", "pattern.1"])
    mixed = seen["pattern.1"] @ seen["v.1"].transpose(1, 2).repeat_interleave(2, dim=1)
    torch.testing.assert_close(mixed.transpose(1, 2), seen["z.1"], rtol=1e-4, atol=1e-5)


def test_values_that_are_clipped_on_the_way_are_refused() -> None:
    session = wb.load(build("Olmo", {**SIZES, "clip_qkv": 0.3}))
    with pytest.raises(SiteError, match=r"'v' does not exist in olmo: .*not what a projection gives"):
        session.capture(IDS, "v.1")


@pytest.mark.parametrize("engine", ["hf", "nnsight"])
def test_the_model_gives_what_it_gave(engine: str) -> None:
    model = tiny("gemma2")
    with torch.no_grad():
        expected = copy.deepcopy(model)(IDS).logits
    session = wb.load(model, engine=engine)
    torch.testing.assert_close(session.logits(IDS), expected, rtol=1e-5, atol=1e-5)


def test_what_is_no_causal_language_model_is_refused_with_the_reason() -> None:
    import transformers

    base = transformers.LlamaModel(transformers.LlamaConfig(**SIZES))
    with pytest.raises(UsageError, match="LlamaModel has no unembedding"):
        wb.load(base)
    bert = {
        "vocab_size": 61,
        "hidden_size": 24,
        "intermediate_size": 28,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    both_ways = transformers.BertLMHeadModel(transformers.BertConfig(**bert)).eval()
    with torch.no_grad():
        for parameter in both_ways.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(UsageError, match="BertLMHeadModel is not causal"):
        wb.load(both_ways)
    t5 = transformers.T5Config(vocab_size=61, d_model=24, d_kv=6, d_ff=28, num_layers=2, num_heads=4)
    with pytest.raises(UsageError, match="is an encoder with a decoder"):
        wb.load(transformers.T5ForConditionalGeneration(t5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stem", ["Bert", "Roberta"])
def test_what_sees_later_tokens_is_refused_in_every_type(stem: str, dtype: torch.dtype) -> None:
    import transformers

    small = {
        "vocab_size": 61, "hidden_size": 32, "intermediate_size": 28, "num_hidden_layers": 2, "num_attention_heads": 4,
    }  # fmt: skip
    names = {"Bert": "BertLMHeadModel", "Roberta": "RobertaForCausalLM"}
    for decoder in (False, True):
        model = getattr(transformers, names[stem])(getattr(transformers, stem + "Config")(**small, is_decoder=decoder))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        model = model.to(dtype).eval()
        if decoder:
            assert wb.load(model).shape.layers == 2
        else:
            with pytest.raises(UsageError, match=f"{names[stem]} is not causal"):
                wb.load(model)


def test_a_model_that_draws_at_random_is_refused_and_one_with_a_seed_is_judged_by_its_numbers() -> None:
    model = tiny("llama")
    mlp = model.model.layers[1].mlp
    hook = mlp.register_forward_hook(lambda module, args, output: output * (1 + 0.1 * torch.rand(1)))
    with pytest.raises(UsageError, match=r"LlamaForCausalLM draws random numbers .* differ from run to run by"):
        HfEngine(model)
    hook.remove()
    inner = mlp.forward
    mlp.forward = lambda x: (torch.rand(1), inner(x))[1]  # drawn and not used: the numbers are the same
    assert HfEngine(model).architecture.shape.layers == 3
    del mlp.forward


@pytest.mark.parametrize("seed", range(6))
def test_reformer_hashes_at_random_unless_told_a_seed(seed: int) -> None:
    import transformers

    torch.manual_seed(seed)
    config = transformers.ReformerConfig(
        vocab_size=61, hidden_size=32, attn_layers=["local", "lsh"] * 2, axial_pos_embds=False, num_attention_heads=4,
        local_attn_chunk_length=8, lsh_attn_chunk_length=8, feed_forward_size=48, attention_head_size=8,
        num_buckets=4, is_decoder=True, hash_seed=None,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"ReformerModelWithLMHead (draws random numbers|is not causal)"):
        wb.load(transformers.ReformerModelWithLMHead(config).eval())


def test_layers_whose_parts_lie_in_lists_side_by_side_are_refused() -> None:
    import transformers

    config = transformers.XLMConfig(
        vocab_size=61, emb_dim=24, n_layers=3, n_heads=4, causal=True, n_langs=1, max_position_embeddings=64
    )
    with pytest.raises(WorkbenchError, match=r"lists side by side \(transformer.attentions, .*ffns"):
        wb.load(transformers.XLMWithLMHeadModel(config).eval())


@pytest.mark.parametrize("dead", [("o_proj", "down_proj"), ("v_proj", "down_proj"), ("o_proj",), ("down_proj",)])
def test_a_layer_that_adds_nothing_has_the_sites_of_the_others(dead: tuple[str, ...]) -> None:
    model = tiny("llama")
    with torch.no_grad():
        for name, parameter in model.model.layers[1].named_parameters():
            if any(part in name for part in dead):
                parameter.zero_()
    session = wb.load(model)
    assert all(
        set(layer.places) >= set(session.hooked.kinds) - {"embed", "final_norm", "logits"}
        for layer in session.hooked.architecture.layers
    )
    seen = session.capture(IDS, ["resid_pre.1", "attn_out.1", "resid_mid.1", "mlp_out.1", "resid_post.1"])
    torch.testing.assert_close(seen["resid_mid.1"], seen["resid_pre.1"] + seen["attn_out.1"])
    torch.testing.assert_close(seen["resid_post.1"], seen["resid_mid.1"] + seen["mlp_out.1"])
    assert "v_proj" not in dead or not seen["attn_out.1"].any()
    plain, shift = session.logits(IDS), torch.ones(session.shape.d_model)
    for site in ("attn_out.1", "mlp_out.1", "resid_mid.1"):
        moved = session.capture(IDS, "resid_post.1", edits=[wb.edits.add(site, shift)])["resid_post.1"]
        assert ((moved - seen["resid_post.1"]).abs().amax(dim=-1) > 0.5).all(), site
    assert torch.equal(session.logits(IDS), plain)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama", "qwen3", "gemma2"])
def test_weights_of_zeros_hide_no_site(name: str) -> None:
    model, whole = tiny(name), hooked(tiny(name)).architecture
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.ndim == 2 and not any(part in path for part in ("embed", "wte", "wpe", "lm_head")):
                parameter.zero_()
    found = hooked(model).architecture
    assert found.kinds == whole.kinds
    for layer, like in zip(found.layers, whole.layers, strict=True):
        assert layer.places.keys() == like.places.keys()
        for kind, place in layer.places.items():
            assert (place.module, place.side) == (like.places[kind].module, like.places[kind].side), kind
            columns, own = place.columns, like.places[kind].columns
            assert (columns is None) == (own is None)
            assert columns is None or own is None or torch.equal(columns.index, own.index), kind
