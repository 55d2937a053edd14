"""Tiny random models of many families, from their own configurations."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FULL, WINDOW, LINEAR = "full_attention", "sliding_attention", "linear_attention"
SIZES: dict[str, Any] = {
    "vocab_size": 67, "hidden_size": 24, "intermediate_size": 28, "num_hidden_layers": 3, "num_layers": 3,
    "n_layer": 3,
    "num_attention_heads": 4, "num_heads": 4, "n_head": 4, "num_key_value_heads": 2, "head_dim": 8, "n_embd": 24,
    "d_model": 24, "n_heads": 4, "n_layers": 3, "ffn_dim": 28, "word_embed_proj_dim": 24, "n_positions": 96,
    "n_ctx": 96,
    "max_position_embeddings": 96, "max_seq_len": 96, "sliding_window": 6, "window_size": 6, "attention_chunk_size": 6,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "rotary_dim": 4,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 12, "shared_intermediate_size": 12, "intermediate_size_mlp": 28, "n_group": 1,
    "topk_group": 1, "n_shared_experts": 1, "kv_lora_rank": 12, "q_lora_rank": 12, "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 6, "v_head_dim": 7, "index_head_dim": 8, "index_n_heads": 2, "index_topk": 6,
    "mamba_d_state": 4, "mamba_d_conv": 3, "mamba_expand": 2, "mamba_n_heads": 6, "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8, "mamba_dt_rank": 4, "mamba_d_ssm": 48, "mamba_num_heads": 6, "mamba_head_dim": 8,
    "ssm_state_size": 4, "n_groups": 1, "chunk_size": 8, "state_size": 4, "time_step_rank": 4, "conv_kernel": 3,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 6, "linear_value_head_dim": 6,
    "linear_conv_kernel_dim": 3, "hidden_size_per_layer_input": 6, "vocab_size_per_layer_input": 67, "laurel_rank": 4,
}  # fmt: skip
"""Set where a configuration has the field; sizes differ from one another where that can be helped."""
LATENT = {"num_key_value_heads": 4}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {"layer_types": [WINDOW, FULL, WINDOW]}),
    "granite": ("granite", {"residual_multiplier": 0.3, "attention_multiplier": 0.2, "logits_scaling": 3.0}),
    "glm4": ("glm4", {}),
    "exaone4": ("exaone4", {"layer_types": [WINDOW, FULL, WINDOW]}),
    "opt": ("opt", {}),
    "falcon_h1": ("falcon_h1", {"key_multiplier": 0.6, "attention_out_multiplier": 0.7}),
    "llama4": ("llama4_text", {"num_experts_per_tok": 1, "no_rope_layers": [1, 1, 0]}),
    "phi": ("phi", {"num_key_value_heads": 4, "head_dim": ..., "hidden_size": 32}),
    "qwen3_next": ("qwen3_next", {"layer_types": [LINEAR, FULL, LINEAR]}),
    "qwen3_5": ("qwen3_5_text", {"layer_types": [LINEAR, FULL, FULL]}),
    "nemotron_h": ("nemotron_h", {"layers_block_type": ["mamba", "attention", "mlp"]}),
    "granite 4": ("granitemoehybrid", {"layer_types": [LINEAR, FULL, LINEAR], "residual_multiplier": 0.5}),
    "jamba": ("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1}),
    "bamba": ("bamba", {"attn_layer_indices": [1]}),
    "lfm2": ("lfm2", {"layer_types": ["conv", FULL, "conv"]}),
    "gpt_oss": ("gpt_oss", {"layer_types": [WINDOW, FULL, WINDOW]}),
    "deepseek_v3": ("deepseek_v3", {**LATENT, "first_k_dense_replace": 1}),
    "deepseek_v32": ("deepseek_v32", {**LATENT, "first_k_dense_replace": 1}),
    "minicpm3": ("minicpm3", LATENT),
    "gemma3": ("gemma3_text", {"layer_types": [WINDOW, FULL, WINDOW]}),
    "gemma3n": ("gemma3n_text", {"layer_types": [WINDOW, FULL, WINDOW, FULL], "num_hidden_layers": 4,
                                 "num_kv_shared_layers": 2, "activation_sparsity_pattern": [0.9, 0.0, 0.0, 0.0]}),
    "gemma4": ("gemma4_text", {"layer_types": [WINDOW, FULL, WINDOW, FULL], "num_hidden_layers": 4,
                               "num_kv_shared_layers": 2, "global_head_dim": 12}),
    "bloom": ("bloom", {}),
    "gptj": ("gptj", {}),
    "gpt_neo": ("gpt_neo", {"attention_types": [[["global", "local", "local"], 1]]}),
    "falcon": ("falcon", {}),
    "falcon new": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "gpt_bigcode": ("gpt_bigcode", {}),
    "codegen": ("codegen", {}),
    "mpt": ("mpt", {}),
    "mamba": ("mamba", {}),
}  # fmt: skip
"""Name: a configuration's model type, and settings beside `SIZES` (`...` leaves one out)."""


def family(name: str, **changes: Any) -> PreTrainedModel:
    """A model of random weights, large enough that nothing is uniform or zero; the same at every call."""
    import torch
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    kind, special = FAMILIES.get(name, (name, {}))
    made = CONFIG_MAPPING[kind]
    known = {field.name for field in fields(made)}
    given = {key: value for key, value in SIZES.items() if key in known} | special | changes
    config = made(**{key: value for key, value in given.items() if value is not ...})
    model = MODEL_FOR_CAUSAL_LM_MAPPING[made](config).float().eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if re.search(r"A_log|dt_bias|\.D$", key):
                continue
            if parameter.ndim >= 2 and "conv" not in key:
                parameter.copy_(0.25 * noise)
            else:
                parameter.add_(0.15 * noise)
    return model
