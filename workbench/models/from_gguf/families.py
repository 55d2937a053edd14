"""The architectures that are converted, each with a closed list of what its files may say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import positions
from .file import GgufFile

Entries = dict[str, Any]
Rule = Callable[[GgufFile, Any], Entries]
"""What a key's value means for transformers' configuration; raises `UsageError` for a value that cannot be kept."""


def named(name: str) -> Rule:
    """The value under another name."""
    return lambda file, value: {name: value}


def same_in_all(name: str, key: str) -> Rule:
    """A value that a file may give for each layer, where all layers have the same."""

    def rule(file: GgufFile, value: Any) -> Entries:
        values = set(value) if isinstance(value, list) else {value}
        if len(values) != 1:
            raise file.refuse(
                f"{file.architecture}.{key}", "layers differ in it, which transformers' model cannot have"
            )
        return {name: values.pop()}

    return rule


def only(key: str, *allowed: Any) -> Rule:
    """A key that says nothing as long as it has one of these values."""

    def rule(file: GgufFile, value: Any) -> Entries:
        if value not in allowed:
            raise file.refuse(f"{file.architecture}.{key}", "transformers' model computes this in one way only")
        return {}

    return rule


def elsewhere(file: GgufFile, value: Any) -> Entries:
    """A key that is read together with others, by `sizes` or by `positions`."""
    return {}


@dataclass(frozen=True)
class Family:
    """An architecture of GGUF files and the transformers model that computes the same."""

    model_type: str
    keys: Mapping[str, Rule]
    blocks: tuple[str, ...]
    """Tensors that a layer may have, without `blk.N.`."""
    whole: tuple[str, ...] = ("token_embd.weight", "output_norm.weight", "output.weight")
    """Tensors that belong to no layer."""
    implied: Callable[[GgufFile, Entries], Entries] = field(default=lambda file, entries: {})
    """What the architecture computes and no key says."""
    needs: tuple[str, ...] = ("attention.layer_norm_rms_epsilon",)
    """Keys that the family's files have to have, beside those of every model."""
    scalings: tuple[str, ...] = ()
    """Scalings of positions that the model can have."""
    rotates: bool = True
    grouped: bool = True
    """Whether several heads may share a key and a value."""
    sized_heads: bool = True
    """Whether the size of a head may differ from width / heads."""
    partial: bool = False
    """Whether a part of each head may go without rotation."""


def _common(norm: str = "rms_norm_eps", rms: bool = True) -> dict[str, Rule]:
    return {
        "block_count": named("num_hidden_layers"),
        "context_length": named("max_position_embeddings"),
        "embedding_length": named("hidden_size"),
        "feed_forward_length": same_in_all("intermediate_size", "feed_forward_length"),
        "attention.head_count": same_in_all("num_attention_heads", "attention.head_count"),
        "attention.head_count_kv": same_in_all("num_key_value_heads", "attention.head_count_kv"),
        f"attention.layer_norm_{'rms_' if rms else ''}epsilon": named(norm),
        "attention.key_length": elsewhere,
        "attention.value_length": elsewhere,
        "attention.causal": only("attention.causal", True),
        "vocab_size": elsewhere,
        "expert_count": only("expert_count", 0),
        "expert_used_count": only("expert_used_count", 0),
        **dict.fromkeys(positions.KEYS, elsewhere),
    }


def _windows(file: GgufFile, value: Any) -> Entries:
    """One in every N layers sees everything, the last of each N; or a list that says it for each layer."""
    layers = int(file.need("block_count"))
    local = value if isinstance(value, list) else [bool((layer + 1) % int(value)) for layer in range(layers)]
    if len(local) != layers:
        raise file.refuse(f"{file.architecture}.attention.sliding_window_pattern", f"there are {layers} layers")
    return {"layer_types": ["sliding_attention" if one else "full_attention" for one in local]}


def _gemma(period: int, wide: int) -> Callable[[GgufFile, Entries], Entries]:
    """Scale and windows of Gemma; only the 27B model, the one with `wide` layers, scales by width / heads."""

    def implied(file: GgufFile, entries: Entries) -> Entries:
        by_width = entries["hidden_size"] // entries["num_attention_heads"]
        scale = by_width if entries["num_hidden_layers"] == wide else entries["head_dim"]
        return {"query_pre_attn_scalar": scale, **_windows(file, period)}

    return implied


def _gemma3(file: GgufFile, entries: Entries) -> Entries:
    """Layers with a window have a rotation of their own, which is never scaled."""
    local = {"rope_type": "default", "rope_theta": float(file.get("rope.freq_base_swa", positions.THETA))}
    nested = {"full_attention": entries["rope_parameters"], "sliding_attention": local}
    return {**_gemma(6, 62)(file, entries), "rope_parameters": nested}


def _llama(file: GgufFile, entries: Entries) -> Entries:
    return {
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
    }


def _phi3(file: GgufFile, entries: Entries) -> Entries:
    # Phi-3's configuration has the trained length apart from the scaling, and prefers it there.
    rope = entries["rope_parameters"]
    trained = rope.get("original_max_position_embeddings", entries["max_position_embeddings"])
    rope.setdefault("partial_rotary_factor", 1.0)
    return {"original_max_position_embeddings": trained, "sliding_window": entries.get("sliding_window")}


def _each(*names: str, bias: bool = False) -> tuple[str, ...]:
    ends = (".weight", ".bias") if bias else (".weight",)
    return tuple(name + end for name in names for end in ends)


SCALED = ("linear", "yarn", "llama3", "longrope")
QKVO = ("attn_q", "attn_k", "attn_v", "attn_output")
NORMS = _each("attn_norm", "ffn_norm")
GATED = _each("ffn_gate", "ffn_up", "ffn_down")
ROTATED = ("token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight")
SANDWICH = _each("post_attention_norm", "post_ffw_norm")
EXPERTS = _each("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
_experts: dict[str, Rule] = {
    "expert_count": named("num_experts"),
    "expert_used_count": named("num_experts_per_tok"),
    "expert_feed_forward_length": named("moe_intermediate_size"),
}
_gemma_keys: dict[str, Rule] = {
    **_common(),
    "attention.sliding_window": named("sliding_window"),
    "attn_logit_softcapping": named("attn_logit_softcapping"),
    "final_logit_softcapping": named("final_logit_softcapping"),
}

FAMILIES: dict[str, Family] = {
    "llama": Family(
        "llama",
        _common(),
        (*_each(*QKVO, "ffn_gate", "ffn_up", "ffn_down", bias=True), *NORMS),
        whole=ROTATED,
        implied=_llama,
        # Without the number of keys transformers leaves the halves of each head's rotation interleaved.
        needs=("attention.layer_norm_rms_epsilon", "attention.head_count_kv"),
        scalings=SCALED,
    ),
    "qwen2": Family(
        "qwen2",
        _common(),
        (*_each("attn_q", "attn_k", "attn_v", bias=True), "attn_output.weight", *NORMS, *GATED),
        scalings=SCALED[:2],
        sized_heads=False,
    ),
    "qwen2moe": Family(
        "qwen2_moe",
        {
            **_common(),
            **_experts,
            "expert_shared_feed_forward_length": named("shared_expert_intermediate_size"),
        },
        (
            *_each("attn_q", "attn_k", "attn_v", bias=True),
            *("attn_output.weight", *NORMS, *EXPERTS),
            *_each("ffn_gate_inp_shexp", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"),
        ),
        implied=lambda file, entries: {"norm_topk_prob": False, "decoder_sparse_step": 1, "mlp_only_layers": []},
        needs=("attention.layer_norm_rms_epsilon", *_experts, "expert_shared_feed_forward_length"),
        scalings=SCALED[:2],
        sized_heads=False,
    ),
    "qwen3": Family(
        "qwen3",
        _common(),
        (*_each(*QKVO, "attn_q_norm", "attn_k_norm"), *NORMS, *GATED),
        implied=lambda file, entries: {"attention_bias": False},
        scalings=SCALED[:2],
    ),
    "qwen3moe": Family(
        "qwen3_moe",
        {**_common(), **_experts},
        (*_each(*QKVO, "attn_q_norm", "attn_k_norm"), *NORMS, *EXPERTS),
        # The programs that read these files share the weight of an expert among the chosen ones.
        implied=lambda file, entries: {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
        needs=("attention.layer_norm_rms_epsilon", *_experts),
        scalings=SCALED[:2],
    ),
    "gemma2": Family(
        "gemma2",
        _gemma_keys,
        (*_each(*QKVO), *NORMS, *SANDWICH, *GATED),
        implied=_gemma(2, 46),
    ),
    "gemma3": Family(
        "gemma3_text",
        {
            **_gemma_keys,
            "attention.sliding_window_pattern": _windows,
            "rope.freq_base_swa": elsewhere,
        },
        (*_each(*QKVO, "attn_q_norm", "attn_k_norm"), *NORMS, *SANDWICH, *GATED),
        implied=_gemma3,
        needs=("attention.layer_norm_rms_epsilon", "attention.sliding_window"),
        scalings=("linear",),
    ),
    "phi3": Family(
        "phi3",
        {**_common(), "attention.sliding_window": named("sliding_window")},
        (*_each("attn_qkv", "attn_output", "ffn_up", "ffn_down"), *NORMS),
        whole=("token_embd.weight", "output_norm.weight", "output.weight", *positions.TENSORS[1:]),
        implied=_phi3,
        scalings=("longrope",),
        sized_heads=False,
        partial=True,
    ),
    "gpt2": Family(
        "gpt2",
        {
            "block_count": named("n_layer"),
            "context_length": named("n_positions"),
            "embedding_length": named("hidden_size"),
            "feed_forward_length": named("n_inner"),
            "attention.head_count": named("num_attention_heads"),
            "attention.layer_norm_epsilon": named("layer_norm_epsilon"),
            "vocab_size": elsewhere,
        },
        _each("attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down", bias=True),
        whole=(*_each("token_embd", "position_embd", "output"), *_each("output_norm", bias=True)),
        needs=("attention.layer_norm_epsilon",),
        rotates=False,
        grouped=False,
        sized_heads=False,
    ),
    "starcoder2": Family(
        "starcoder2",
        _common("norm_epsilon", rms=False),
        _each(*QKVO, "attn_norm", "ffn_norm", "ffn_up", "ffn_down", bias=True),
        whole=(*_each("token_embd", "output"), *_each("output_norm", bias=True)),
        implied=lambda file, entries: {"sliding_window": None, "use_bias": True},
        needs=("attention.layer_norm_epsilon",),
        scalings=SCALED[:2],
        sized_heads=False,
    ),
}
