"""GGUF files against float64: what a file says of the computation is kept, or it is refused by its key."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import gguf_files, gguf_reference
from workbench.errors import UsageError, WorkbenchError
from workbench.models.from_gguf.config import config
from workbench.models.from_gguf.file import read
from workbench.models.from_gguf.positions import llama3_divisors
from workbench.models.from_gguf.tokenizer import check, tokenizer
from workbench.models.from_gguf.weights import load

IDS = torch.randint(3, gguf_files.VOCABULARY, (96,), generator=torch.Generator().manual_seed(3)).tolist()
DIMS = 8
PLAIN = 10000.0 ** (-np.arange(0, DIMS, 2) / DIMS)


def converted(path: Path) -> Any:
    file = read(path)
    made = config(file)
    check(file)
    return load(file, made).eval()


def computed(model: Any) -> np.ndarray:
    model.config._experts_implementation = "eager"  # the grouped product of experts has no float64
    with torch.no_grad():
        return model.double()(torch.tensor([IDS])).logits[0].numpy()


def agree(path: Path, original: Any = None) -> Any:
    """Convert a file, hold its logits against float64 (and the model that was written), and return the model."""
    model = converted(path)
    found = computed(model)
    size = np.abs(found).max()
    expected = gguf_reference.logits(path, IDS) if original is None else computed(original)
    # transformers keeps its frequencies and Gemma's scale of embeddings in float32.
    assert np.abs(found - expected).max() < 2e-5 * size
    return model


GEMMA = {"head_dim": 8, "sliding_window": 16}
SCALED = {"rope.scaling.factor": 4.0, "rope.scaling.finetuned": True}
YARN = {**SCALED, "rope.scaling.type": "yarn", "rope.scaling.original_context_length": 64}


@pytest.mark.parametrize(
    ("kind", "settings", "keys"),
    [
        ("llama", {}, {}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, {}),
        ("llama", {"head_dim": 16, "rope_parameters": {"rope_theta": 500.0}}, {}),
        ("llama", {}, {**SCALED, "rope.scaling.type": "linear"}),
        ("llama", {}, {"rope.scale_linear": 2.0}),
        ("llama", {}, YARN),
        ("llama", {}, {**YARN, "rope.scaling.attn_factor": 0.8, "rope.scaling.yarn_ext_factor": -1.0}),
        ("llama", {}, {**YARN, "rope.scaling.yarn_beta_fast": 8.0, "rope.scaling.yarn_beta_slow": 2.0}),
        ("qwen2", {}, YARN),
        ("qwen3", {"head_dim": 16}, {}),
        ("gemma2", {**GEMMA, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 2.0}, {}),
        ("gemma3_text", {**GEMMA, "num_hidden_layers": 6}, {}),
        ("gemma3_text", GEMMA, {**SCALED, "attention.sliding_window_pattern": 3, "rope.freq_base_swa": 300.0}),
        ("gemma3_text", GEMMA, {"attention.sliding_window_pattern": [False, True, False]}),
        ("phi3", {"sliding_window": 16, "rope_parameters": {"partial_rotary_factor": 0.5}}, {}),
    ],
)
def test_logits_are_those_of_a_float64_computation_from_the_file(
    kind: str, settings: dict[str, Any], keys: dict[str, Any], tmp_path: Path
) -> None:
    agree(gguf_files.write(gguf_files.model(kind, **settings), tmp_path / "model.gguf", keys))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("gpt2", {}),
        ("starcoder2", {"rope_parameters": {"rope_theta": 700.0}}),
        ("qwen2_moe", {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24}),
        ("qwen3_moe", {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 16, "head_dim": 16}),
    ],
)
def test_logits_are_those_of_the_model_that_was_written(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    if kind == "qwen2_moe":
        settings = {**settings, "shared_expert_intermediate_size": 40}
    if kind == "qwen3_moe":
        settings = {**settings, "norm_topk_prob": True}
    original = gguf_files.model(kind, **settings)
    agree(gguf_files.write(original, tmp_path / "model.gguf"), original)


def test_what_a_file_lacks_is_what_the_programs_that_read_it_take(tmp_path: Path) -> None:
    original = gguf_files.model("qwen2", num_key_value_heads=4)
    absent = ("rope.freq_base", "attention.head_count_kv")
    agree(gguf_files.write(original, tmp_path / "model.gguf", leave_out=absent), original)


def test_the_large_gemmas_scale_by_width_and_the_others_by_the_size_of_a_head(tmp_path: Path) -> None:
    settings = {"head_dim": 4, "hidden_size": 16, "intermediate_size": 8, "num_attention_heads": 2}
    settings["num_key_value_heads"] = 1
    for kind, wide in (("gemma2", 46), ("gemma3_text", 62)):
        for layers, expected in ((wide, 8), (wide - 1, 4)):
            small = gguf_files.model(kind, **settings)
            path = gguf_files.write(small, tmp_path / f"{kind}-{layers}.gguf", {"block_count": layers})
            assert config(read(path)).query_pre_attn_scalar == expected


LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(("head", "original", "factor"), [(16, 32, 8.0), (64, 64, 32.0), (128, 8192, 8.0)])
def test_the_scaling_of_llama_3_comes_back_from_its_factors(
    head: int, original: int, factor: float, tmp_path: Path
) -> None:
    rope = {**LLAMA3, "rope_theta": 500000.0 if head == 128 else 10000.0, "factor": factor}
    rope["original_max_position_embeddings"] = original
    made = gguf_files.model("llama", head_dim=head, rope_parameters=rope)
    plain = rope["rope_theta"] ** (-np.arange(0, head, 2) / head)
    divisors = (plain / made.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    path = gguf_files.write(made, tmp_path / "model.gguf", tensors={"rope_freqs.weight": divisors})
    kept = agree(path, made).config.rope_parameters
    assert kept == {**rope, "factor": pytest.approx(factor, rel=1e-6)}


@pytest.mark.parametrize("divisors", [[1.0, 2.0, 1.0, 5.0], [1.0, 1.0, 8.0, 8.0], [0.5, 1.0, 2.0, 4.0]])
def test_factors_that_no_rule_gives_are_kept_as_they_are(divisors: list[float], tmp_path: Path) -> None:
    path = gguf_files.write(
        gguf_files.model("llama"), tmp_path / "model.gguf", tensors={"rope_freqs.weight": np.array(divisors)}
    )
    rope = agree(path).config.rope_parameters
    assert rope["long_factor"] == rope["short_factor"] == divisors and rope["attention_factor"] == 1.0
    path = gguf_files.write(
        gguf_files.model("llama"), tmp_path / "ones.gguf", tensors={"rope_freqs.weight": np.ones(4)}
    )
    assert agree(path).config.rope_parameters["rope_type"] == "default"


def test_divisors_of_llama_3_by_hand() -> None:
    # 64 tokens of context; the second frequency turns 64 · 0.25 / 2π = 2.546 times: kept by (2.546 - 1) / 3.
    found = llama3_divisors(
        {**LLAMA3, "factor": 8.0, "original_max_position_embeddings": 64}, np.array([1, 0.25, 0.01])
    )
    kept = (64 * 0.25 / (2 * math.pi) - 1) / 3
    assert found == pytest.approx([1.0, 1 / (kept + (1 - kept) / 8), 8.0])


@pytest.mark.parametrize("trained", [64, 128], ids=["longer", "within"])
def test_longrope_has_its_factors_for_short_and_for_long_texts(trained: int, tmp_path: Path) -> None:
    keys = {"rope.scaling.original_context_length": trained, "rope.scaling.attn_factor": 1.1}
    factors = {
        "rope_factors_short.weight": np.array([1.0, 1.1, 1.2, 1.5]),
        "rope_factors_long.weight": np.array([1.0, 2.0, 3.0, 6.0]),
    }
    model = agree(gguf_files.write(gguf_files.model("phi3"), tmp_path / "model.gguf", keys, factors))
    assert model.config.rope_parameters["original_max_position_embeddings"] == trained


def ones(name: str) -> dict[str, np.ndarray]:
    return {name: np.full(4, 2.0)}


@pytest.mark.parametrize(
    ("kind", "keys", "tensors", "told"),
    [
        ("llama", {"logit_scale": 0.5}, {}, r"llama\.logit_scale = 0\.5"),
        ("llama", {"attention.scale": 0.5}, {}, r"llama\.attention\.scale"),
        ("llama", {"attn_logit_softcapping": 5.0}, {}, r"llama\.attn_logit_softcapping"),
        ("llama", {"attention.sliding_window": 16}, {}, r"llama\.attention\.sliding_window = 16"),
        ("llama", {"a_key_of_next_year": 1}, {}, r"llama\.a_key_of_next_year"),
        ("llama", {"other.key": 1}, {}, r"other\.key"),
        ("llama", {"expert_count": 4}, {}, r"llama\.expert_count = 4"),
        ("llama", {"attention.causal": False}, {}, r"llama\.attention\.causal = False"),
        ("llama", {"attention.head_count_kv": [2, 2, 1]}, {}, r"llama\.attention\.head_count_kv .*layers differ"),
        ("llama", {"attention.value_length": 4}, {}, r"llama\.attention\.value_length"),
        ("llama", {"rope.dimension_count": 4}, {}, r"llama\.rope\.dimension_count = 4"),
        ("llama", {"vocab_size": 7}, {}, r"llama\.vocab_size = 7"),
        ("llama", {"split.count": 2}, {}, r"split\.count = 2.*gguf-split"),
        ("llama", {"general.type": "adapter"}, {}, r"general\.type = adapter"),
        ("llama", {**SCALED, "rope.scaling.type": "dynamic"}, {}, r"llama\.rope\.scaling\.type = dynamic"),
        ("llama", {**SCALED, "rope.scaling.type": "none"}, {}, r"llama\.rope\.scaling\.factor = 4"),
        ("llama", {**SCALED, "rope.scaling.attn_factor": 2.0}, {}, r"llama\.rope\.scaling\.attn_factor = 2"),
        ("llama", {**YARN, "rope.scaling.yarn_ext_factor": 0.5}, {}, r"llama\.rope\.scaling\.yarn_ext_factor"),
        ("llama", {**YARN, "rope.scaling.yarn_attn_factor": 0.5}, {}, r"llama\.rope\.scaling\.yarn_attn_factor = 0\.5"),
        ("llama", {**YARN, "rope.scaling.yarn_log_multiplier": 0.1}, {}, r"yarn_log_multiplier"),
        ("llama", YARN, ones("rope_freqs.weight"), r"rope_freqs\.weight.*yarn"),
        ("llama", {}, {"rope_freqs.weight": np.full(3, 2.0)}, r"rope_freqs\.weight: 3 factors do not fit"),
        ("llama", {}, ones("rope_factors_long.weight"), r"rope_factors_long\.weight"),
        ("llama", {}, ones("blk.0.attn_sinks.weight"), r"blk\.0\.attn_sinks\.weight"),
        ("llama", {"attention.key_length": 16}, {}, r"llama\.attention\.key_length = 16.*4 heads have 32 queries"),
        ("qwen2", {}, {}, r"qwen2\.attention\.key_length = 16: heads of another size"),
        ("qwen2", {"attention.sliding_window": 16}, {}, r"qwen2\.attention\.sliding_window"),
        ("gemma3_text", {"attention.sliding_window_pattern": [True]}, {}, r"sliding_window_pattern.*3 layers"),
        ("gemma3_text", YARN, {}, r"gemma3\.rope\.scaling\.type = yarn.*no yarn scaling"),
        ("gemma2", {"attention.scale": 0.25}, {}, r"gemma2\.attention\.scale = 0\.25"),
        ("gemma2", SCALED, {}, r"gemma2\.rope\.scaling\.factor = 4"),
        ("phi3", {**SCALED, "rope.scaling.type": "longrope"}, {}, r"rope_factors_long\.weight.*lacks"),
        ("phi3", {}, ones("rope_factors_long.weight"), r"rope_factors_short\.weight.*lacks"),
        ("llama", {"tokenizer.ggml.pre": "a-new-way"}, {}, r"tokenizer\.ggml\.pre = a-new-way"),
        ("llama", {"tokenizer.ggml.model": "rwkv"}, {}, r"tokenizer\.ggml\.model = rwkv"),
        ("llama", {"tokenizer.ggml.add_eos_token": True}, {}, r"tokenizer\.ggml\.add_eos_token"),
        ("llama", {"tokenizer.ggml.add_space_prefix": True}, {}, r"tokenizer\.ggml\.add_space_prefix"),
        ("gemma2", {"tokenizer.ggml.model": "llama"}, {}, r"tokenizer\.ggml\.add_space_prefix.*lacks"),
        ("llama", {"tokenizer.ggml.remove_extra_whitespaces": True}, {}, r"remove_extra_whitespaces"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_key(
    kind: str, keys: dict[str, Any], tensors: dict[str, np.ndarray], told: str, tmp_path: Path
) -> None:
    settings = {"gemma": GEMMA, "qwen2": {"head_dim": 16} if "head" in told else {}}.get(kind[:5], {})
    path = gguf_files.write(gguf_files.model(kind, **settings), tmp_path / "model.gguf", keys, tensors)
    with pytest.raises(UsageError, match=told) as caught:
        converted(path)
    assert "safetensors" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        ("attention.layer_norm_rms_epsilon", r"lacks llama\.attention\.layer_norm_rms_epsilon"),
        # Without it transformers would leave the halves of each head's rotation interleaved.
        ("attention.head_count_kv", r"lacks llama\.attention\.head_count_kv"),
        ("feed_forward_length", r"lacks llama\.feed_forward_length"),
        ("tokenizer.ggml.pre", r"tokenizer\.ggml\.pre: the file lacks this key"),
        ("token_embd.weight", r"token_embd\.weight: the file lacks this tensor"),
        ("blk.1.ffn_up.weight", r"does not fill model\.layers\.1\.mlp\.up_proj\.weight"),
    ],
)
def test_what_a_model_needs_and_the_file_lacks_is_named(absent: str, told: str, tmp_path: Path) -> None:
    path = gguf_files.write(gguf_files.model("llama"), tmp_path / "model.gguf", leave_out=(absent,))
    with pytest.raises(WorkbenchError, match=told):
        converted(path)


def test_another_architecture_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(str(tmp_path / "model.gguf"), "mamba")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UsageError, match=r"architecture 'mamba'.*converted are: gemma2, gemma3, gpt2, llama"):
        converted(tmp_path / "model.gguf")


def test_what_is_no_whole_gguf_file_is_refused(tmp_path: Path) -> None:
    path = gguf_files.write(gguf_files.model("llama"), tmp_path / "model.gguf")
    whole = path.read_bytes()
    for bytes_, told in ((whole[: len(whole) // 2], "not a whole GGUF file"), (b"words", "not a whole GGUF file")):
        path.write_bytes(bytes_)
        with pytest.raises(UsageError, match=told):
            read(path)
    with pytest.raises(UsageError, match="no file"):
        read(tmp_path / "absent.gguf")


def test_every_token_that_ends_an_answer_is_one_at_which_generation_stops(tmp_path: Path) -> None:
    made = gguf_files.model("llama")
    path = gguf_files.write(made, tmp_path / "model.gguf", {"tokenizer.ggml.eot_token_id": 4})
    assert converted(path).generation_config.eos_token_id == [2, 4]
    path = gguf_files.write(made, tmp_path / "model.gguf", {"tokenizer.ggml.eot_token_id": 2})
    assert converted(path).generation_config.eos_token_id == 2


def test_a_vocabulary_that_lacks_the_token_that_transformers_adds_is_as_its_file_says(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    words = gguf_files.byte_level(["<begin>", "<header>", "<end>"])
    made = tokenizer(read(gguf_files.write(gguf_files.model("llama"), tmp_path / "model.gguf", tokens=words)))
    assert len(made) == gguf_files.VOCABULARY and max(made.get_vocab().values()) == len(made) - 1
    assert (made.bos_token, made.eos_token) == ("<header>", "<end>")
    for text in ("a  b", "ab<|endoftext|>", "<begin>ab<end>"):
        assert made.decode(made(text).input_ids) == text
    made.save_pretrained(tmp_path / "folder")
    again = AutoTokenizer.from_pretrained(tmp_path / "folder")
    assert len(again) == len(made) and again("ab<|endoftext|>").input_ids == made("ab<|endoftext|>").input_ids
