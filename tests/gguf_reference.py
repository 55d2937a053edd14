"""Logits of a GGUF file in float64, from its keys and tensors alone, in the plainest way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray


def logits(path: Path, ids: list[int]) -> Array:
    """Logits `[position, vocabulary]` of a dense decoder: llama, qwen2, qwen3, gemma2, gemma3 or phi3."""
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(str(path))
    kind = reader.fields["general.architecture"].contents()
    keys = {name.removeprefix(f"{kind}."): field.contents() for name, field in reader.fields.items()}
    weights = {one.name: dequantize(one.data, one.tensor_type).astype(np.float64) for one in reader.tensors}
    gemma = kind.startswith("gemma")
    width, heads, layers = keys["embedding_length"], keys["attention.head_count"], keys["block_count"]
    shared = keys.get("attention.head_count_kv", heads)
    queries = weights.get("blk.0.attn_q.weight")
    head = (width if queries is None else len(queries)) // heads
    eps = keys["attention.layer_norm_rms_epsilon"]
    stream = weights["token_embd.weight"][ids] * (math.sqrt(width) if gemma else 1.0)

    def norm(x: Array, name: str) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weights[name]

    def linear(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    for layer in range(layers):
        here = f"blk.{layer}."
        local = _is_local(keys, kind, layer)
        x = norm(stream, f"{here}attn_norm.weight")
        if kind == "phi3":
            cuts = [heads * head, (heads + shared) * head]
            q, k, v = np.split(linear(x, f"{here}attn_qkv"), cuts, axis=-1)
        else:
            q, k, v = (linear(x, f"{here}attn_{name}") for name in "qkv")
        q, k, v = (part.reshape(len(ids), -1, head) for part in (q, k, v))
        if f"{here}attn_q_norm.weight" in weights:
            q, k = norm(q, f"{here}attn_q_norm.weight"), norm(k, f"{here}attn_k_norm.weight")
        q, k = _rotated(q, keys, weights, kind, local), _rotated(k, keys, weights, kind, local)
        k, v = (np.repeat(part, heads // shared, axis=1) for part in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(head)
        if cap := keys.get("attn_logit_softcapping"):
            scores = cap * np.tanh(scores / cap)
        back = np.arange(len(ids))[:, None] - np.arange(len(ids))
        seen = (back >= 0) & (back < keys["attention.sliding_window"]) if local else back >= 0
        scores = np.where(seen, scores, -np.inf)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        z = np.einsum("hqk,khd->qhd", share / share.sum(-1, keepdims=True), v).reshape(len(ids), -1)
        out = linear(z, f"{here}attn_output")
        stream = stream + (norm(out, f"{here}post_attention_norm.weight") if gemma else out)
        x = norm(stream, f"{here}ffn_norm.weight")
        up = linear(x, f"{here}ffn_up")
        gate, up = np.split(up, 2, axis=-1) if kind == "phi3" else (linear(x, f"{here}ffn_gate"), up)
        out = linear((_gelu(gate) if gemma else gate / (1 + np.exp(-gate))) * up, f"{here}ffn_down")
        stream = stream + (norm(out, f"{here}post_ffw_norm.weight") if gemma else out)
    found = norm(stream, "output_norm.weight") @ weights.get("output.weight", weights["token_embd.weight"]).T
    cap = keys.get("final_logit_softcapping")
    return cap * np.tanh(found / cap) if cap else found


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _is_local(keys: dict[str, Any], kind: str, layer: int) -> bool:
    if "attention.sliding_window" not in keys:
        return False
    pattern = keys.get("attention.sliding_window_pattern", {"gemma2": 2, "gemma3": 6}.get(kind))
    if isinstance(pattern, list):
        return bool(pattern[layer])
    return pattern is None or bool((layer + 1) % pattern)


def _rotated(x: Array, keys: dict[str, Any], weights: dict[str, Array], kind: str, local: bool) -> Array:
    """Queries or keys `[position, head, dimension]`, each pair turned by its angle."""
    rotated = keys.get("rope.dimension_count", x.shape[-1])
    angles, stretch = _angles(len(x), rotated, keys, weights, local and kind == "gemma3")
    cos, sin = np.cos(angles)[:, None] * stretch, np.sin(angles)[:, None] * stretch
    turned, rest = x[..., :rotated], x[..., rotated:]
    if kind == "llama":
        one, two = turned[..., 0::2], turned[..., 1::2]
        pairs = np.stack([one * cos - two * sin, one * sin + two * cos], axis=-1)
        return np.concatenate([pairs.reshape(turned.shape), rest], axis=-1)
    one, two = np.split(turned, 2, axis=-1)
    return np.concatenate([one * cos - two * sin, one * sin + two * cos, rest], axis=-1)


def _angles(
    length: int, rotated: int, keys: dict[str, Any], weights: dict[str, Array], apart: bool
) -> tuple[Array, float]:
    """Angles `[position, pair]` and by what queries and keys are stretched; `apart` for Gemma 3's local layers."""
    theta = keys.get("rope.freq_base_swa", 10000.0) if apart else keys.get("rope.freq_base", 10000.0)
    pairs = np.arange(rotated // 2)
    turns = theta ** (-2 * pairs / rotated)
    stretch = keys.get("rope.scaling.attn_factor", 1.0)
    if apart:
        return np.arange(length)[:, None] * turns, 1.0
    if "rope_freqs.weight" in weights:
        turns = turns / weights["rope_freqs.weight"]
    if "rope_factors_long.weight" in weights:
        long = length > keys["rope.scaling.original_context_length"]
        turns = turns / weights[f"rope_factors_{'long' if long else 'short'}.weight"]
    factor = keys.get("rope.scaling.factor", keys.get("rope.scale_linear", 1.0))
    if keys.get("rope.scaling.type") == "yarn":
        trained = keys.get("rope.scaling.original_context_length", keys["context_length"])

        def pair_of(rotations: float) -> float:
            return rotated * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(theta))

        low = max(0, math.floor(pair_of(keys.get("rope.scaling.yarn_beta_fast", 32.0))))
        high = min(rotated - 1, math.ceil(pair_of(keys.get("rope.scaling.yarn_beta_slow", 1.0))))
        kept = 1 - np.clip((pairs - low) / max(0.001, high - low), 0, 1)
        turns = turns / factor * (1 - kept) + turns * kept
        stretch *= 1 + 0.1 * math.log(factor)
    elif factor != 1.0:
        turns = turns / factor
    return np.arange(length)[:, None] * turns, stretch
