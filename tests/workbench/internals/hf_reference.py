"""What Hugging Face itself computes at every site, by its own outputs and by plain hooks."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workbench.internals.tokens import TokenBatch

# where the modules are called what, written down apart from the table that is tested
NAMES: dict[str, dict[str, str]] = {
    "llama": {"blocks": "model.layers", "norm": "model.norm", "attn": "self_attn", "out": "o_proj", "mlp": "mlp",
              "pre": "gate_proj", "post": "down_proj", "mid": "post_attention_layernorm"},
    "gpt2": {"blocks": "transformer.h", "norm": "transformer.ln_f", "attn": "attn", "out": "c_proj", "mlp": "mlp",
             "pre": "c_fc", "post": "c_proj", "mid": "ln_2"},
    "gpt_neox": {"blocks": "gpt_neox.layers", "norm": "gpt_neox.final_layer_norm", "attn": "attention", "out": "dense",
                 "mlp": "mlp", "pre": "dense_h_to_4h", "post": "dense_4h_to_h", "mid": "post_attention_layernorm"},
}  # fmt: skip


def everything(model: nn.Module, rows: list[list[int]]) -> dict[str, Tensor]:
    """Every site of rows, right-padded together, `[batch, position, …]`; `pattern` with eager attention only."""
    batch = TokenBatch.of(rows)
    mask = batch.attention_mask.long() if batch.padded else None
    kind = model.config.model_type
    names = NAMES.get(kind, NAMES["llama"])
    if kind == "gemma2":
        names = {**names, "mid": "pre_feedforward_layernorm"}
    seen: dict[str, Tensor] = {}
    handles = []

    def take(module: nn.Module, name: str, output: bool) -> None:
        def after(_: Any, __: Any, out: Any) -> None:
            seen[name] = (out[0] if isinstance(out, tuple) else out).clone()

        def before(_: Any, args: Any) -> None:
            seen[name] = args[0].clone()

        handles.append(module.register_forward_hook(after) if output else module.register_forward_pre_hook(before))

    blocks = model.get_submodule(names["blocks"])
    for layer, block in enumerate(blocks):
        attn, mlp = block.get_submodule(names["attn"]), block.get_submodule(names["mlp"])
        after_attn = block.post_attention_layernorm if kind == "gemma2" else attn
        after_mlp = block.post_feedforward_layernorm if kind == "gemma2" else mlp
        take(after_attn, f"attn_out.{layer}", True)
        take(after_mlp, f"mlp_out.{layer}", True)
        take(block.get_submodule(names["mid"]), f"resid_mid.{layer}", False)
        take(attn.get_submodule(names["out"]), f"z.{layer}", False)
        take(mlp.get_submodule(names["post"]), f"mlp_post.{layer}", False)
        if kind == "phi3":
            take(mlp.gate_up_proj, f"gate_up.{layer}", True)
        else:
            take(mlp.get_submodule(names["pre"]), f"mlp_pre.{layer}", True)
        for path in ("q_proj", "k_proj", "v_proj", "c_attn", "query_key_value", "qkv_proj"):
            if hasattr(attn, path):
                take(attn.get_submodule(path), f"{path}.{layer}", True)
    take(model.get_submodule(names["norm"]), "final_norm", True)
    rotated: list[tuple[Tensor, Tensor]] = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        code = sys.modules[type(model).__module__]
        if hasattr(code, "apply_rotary_pos_emb"):
            rotate = code.apply_rotary_pos_emb

            def recorded(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
                rotated.append(rotate(*args, **kwargs))
                return rotated[-1]

            patch.setattr(code, "apply_rotary_pos_emb", recorded)
        weights = model.config._attn_implementation == "eager"
        out = model(batch.ids, attention_mask=mask, output_hidden_states=True, output_attentions=weights)
    for handle in handles:
        handle.remove()
    seen["logits"], seen["embed"] = out.logits, out.hidden_states[0]
    for layer in range(len(blocks)):
        _shape(seen, model.config, layer)
        if weights:
            seen[f"pattern.{layer}"] = out.attentions[layer]
        seen[f"resid_pre.{layer}"] = out.hidden_states[layer]
        if layer + 1 < len(blocks):
            seen[f"resid_post.{layer}"] = out.hidden_states[layer + 1]
        if rotated:
            seen[f"q_rot.{layer}"], seen[f"k_rot.{layer}"] = (part.transpose(1, 2) for part in rotated[layer])
        q, k = (seen.get(f"{part}_rot.{layer}", seen[f"{part}.{layer}"]) for part in "qk")
        seen[f"scores.{layer}"] = _scores(q, k, model, blocks[layer].get_submodule(names["attn"]))
    if getattr(model.config, "use_parallel_residual", False):
        seen = {name: tensor for name, tensor in seen.items() if not name.startswith("resid_mid")}
    last = len(blocks) - 1
    seen[f"resid_post.{last}"] = seen[f"resid_pre.{last}"] + seen[f"attn_out.{last}"] + seen[f"mlp_out.{last}"]
    return seen


def _shape(seen: dict[str, Tensor], config: Any, layer: int) -> None:
    """Give q, k, v, z and mlp_pre their canonical axes, as the model's own code splits them."""
    heads = config.num_attention_heads
    if (fused := seen.pop(f"c_attn.{layer}", None)) is not None:
        parts = fused.split(config.n_embd, dim=2)
    elif (fused := seen.pop(f"query_key_value.{layer}", None)) is not None:
        parts = fused.view(*fused.shape[:2], heads, -1).chunk(3, dim=-1)
    elif (fused := seen.pop(f"qkv_proj.{layer}", None)) is not None:
        size, kv_size = heads * config.head_dim, config.num_key_value_heads * config.head_dim
        parts = fused[..., :size], fused[..., size : size + kv_size], fused[..., size + kv_size :]
    else:
        parts = tuple(seen.pop(f"{part}_proj.{layer}") for part in "qkv")
    d_head = getattr(config, "head_dim", None) or config.hidden_size // heads
    for name, part in zip("qkv", parts, strict=True):
        seen[f"{name}.{layer}"] = part.reshape(*part.shape[:2], -1, d_head)
    seen[f"z.{layer}"] = seen[f"z.{layer}"].unflatten(-1, (heads, d_head))
    if (both := seen.pop(f"gate_up.{layer}", None)) is not None:
        seen[f"mlp_pre.{layer}"] = both.chunk(2, dim=-1)[0]


def _scores(q: Tensor, k: Tensor, model: nn.Module, attn: nn.Module) -> Tensor:
    """softcap · tanh(q·k / √d / softcap), with the keys repeated for each query head."""
    k = k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)
    logits = torch.einsum("bqhd,bkhd->bhqk", q, k) * attn.scaling
    cap = getattr(model.config, "attn_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)
