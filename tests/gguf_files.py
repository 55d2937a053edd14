"""Small GGUF files of transformers' models, written as llama.cpp's conversion writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 280
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ARCHITECTURES = {
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "gemma3_text": "gemma3",
}
"""Names in GGUF where they differ from transformers'."""


def model(kind: str, **settings: Any) -> Any:
    """A random model of one of transformers' kinds, with no weight left at a value that hides a fault."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    sizes = dict(SIZES)
    if kind == "gpt2":
        sizes = {"vocab_size": VOCABULARY, "n_embd": 32, "n_inner": 48, "n_layer": 3, "n_head": 4, "n_positions": 256}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    made = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**sizes, **tokens, **settings})).float().eval()
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in made.parameters():
            noise = torch.randn(weight.shape, generator=random)
            weight.copy_(weight + 0.2 * noise if weight.ndim == 1 else 0.25 * noise)
    return made


def write(
    made: Any,
    path: Path,
    keys: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    leave_out: tuple[str, ...] = (),
    tokens: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model to a GGUF file; `keys` and `tensors` come on top, `leave_out` names what the file is to lack."""
    from gguf import GGUFWriter

    config = made.config
    architecture = ARCHITECTURES.get(config.model_type, config.model_type)
    writer = GGUFWriter(str(path), architecture)
    said = {**_described(config, architecture), **byte_level(), **(tokens or {}), **(keys or {})}
    for key, value in said.items():
        full = key if key.startswith(("general.", "tokenizer.", "split.", "other.")) else f"{architecture}.{key}"
        if key not in leave_out and value is not None:
            _add(writer, full, value)
    for name, weight in {**_weights(made, architecture), **(tensors or {})}.items():
        if name not in leave_out:
            writer.add_tensor(name, np.ascontiguousarray(weight, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: Any, key: str, value: Any) -> None:
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    writer.add_array(key, value) if isinstance(value, list) else add[type(value)](key, value)


def _described(config: Any, architecture: str) -> dict[str, Any]:
    heads, width = config.num_attention_heads, config.hidden_size
    eps = next(
        getattr(config, name) for name in ("rms_norm_eps", "norm_epsilon", "layer_norm_epsilon") if name in config
    )
    rms = "rms_" if hasattr(config, "rms_norm_eps") else ""
    said: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": width,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.n_inner if architecture == "gpt2" else config.intermediate_size,
        "attention.head_count": heads,
        f"attention.layer_norm_{rms}epsilon": eps,
        "general.file_type": 0,
        "general.type": "model",
    }
    if architecture == "gpt2":
        return said
    rope = config.rope_parameters
    said["attention.head_count_kv"] = config.num_key_value_heads
    said["rope.freq_base"] = float(rope.get("full_attention", rope)["rope_theta"])
    head = getattr(config, "head_dim", None) or width // heads
    if head != width // heads or architecture in ("qwen3", "qwen3moe", "gemma2", "gemma3"):
        said |= {"attention.key_length": head, "attention.value_length": head}
    if architecture in ("llama", "phi3", "starcoder2"):
        said["rope.dimension_count"] = int(head * rope.get("partial_rotary_factor", 1.0))
    if architecture in ("gemma2", "gemma3", "phi3"):
        said["attention.sliding_window"] = config.sliding_window
    if architecture == "gemma2":
        said["attn_logit_softcapping"] = config.attn_logit_softcapping
        said["final_logit_softcapping"] = config.final_logit_softcapping
    if architecture.endswith("moe"):
        said |= {
            "expert_count": config.num_experts,
            "expert_used_count": config.num_experts_per_tok,
            "expert_feed_forward_length": config.moe_intermediate_size,
            "expert_shared_feed_forward_length": getattr(config, "shared_expert_intermediate_size", None),
        }
    return said


def byte_level(special: Sequence[str] = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")) -> dict[str, Any]:
    """What a file says of a byte-level vocabulary that splits text as SmolLM does, with three special tokens."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*special, *letters, "ĠĠ", "ĊĊ", "ab"]
    words += [f"<x{number}>" for number in range(VOCABULARY - len(words))]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (VOCABULARY - 3),
        "tokenizer.ggml.merges": ["Ġ Ġ", "Ċ Ċ", "a b"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }


def _weights(made: Any, architecture: str) -> dict[str, np.ndarray]:
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    config = made.config
    kind = next(number for number, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(kind, config.num_hidden_layers)
    found: dict[str, np.ndarray] = {}
    for name, value in made.state_dict().items():
        weight = value.numpy()
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        layer = name.split(".")[2] if ".layers." in name else ""
        if name.endswith("mlp.experts.gate_up_proj"):
            found[f"blk.{layer}.ffn_gate_exps.weight"], found[f"blk.{layer}.ffn_up_exps.weight"] = np.split(
                weight, 2, 1
            )
            continue
        if name.endswith("mlp.experts.down_proj"):
            found[f"blk.{layer}.ffn_down_exps.weight"] = weight
            continue
        base, end = name.rsplit(".", 1)
        ours = names.get_name(base)
        assert ours is not None, f"{name} has no name in a GGUF file of {architecture}"
        if architecture == "llama" and name.endswith(("q_proj.weight", "q_proj.bias")):
            weight = _interleaved(weight, config.num_attention_heads)
        if architecture == "llama" and name.endswith(("k_proj.weight", "k_proj.bias")):
            weight = _interleaved(weight, config.num_key_value_heads)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            weight = weight + 1
        if architecture == "gpt2" and base.endswith(("c_attn", "c_proj", "c_fc")) and weight.ndim == 2:
            weight = weight.T
        if name.endswith("shared_expert_gate.weight"):
            weight = weight[0]
        found[f"{ours}.{end}"] = weight
    return found


def _interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """The halves of each head's rotation, one dimension of each in turn."""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)
