"""How the organism begins: close to the mechanism that it is then trained to use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .attention_loss import Head


def wire(model: Any, copying: Sequence[Sequence[Head]], scaffold: Sequence[Head]) -> None:
    """Begin near the mechanism, so that little training finds it.

    Every token shares one direction, by which scaffold heads attend to a fixed distance through rotary positions. Each
    writes its token into directions of its own. Copying heads, planted or decoy, start by matching the current token
    with the one before a key, in the slowly turning half of their rotary dimensions, and pass a third of the token's
    directions on to the unembedding, which starts as the embedding.
    """
    core, size, width = model.model, model.config.head_dim, model.config.hidden_size
    speeds = core.rotary_emb.inv_freq
    pairs = len(speeds)
    with torch.no_grad():
        tokens = core.embed_tokens.weight.normal_()
        model.lm_head.weight.copy_(tokens / width**0.5)
        tokens[:, 0] = 3.0
        model.lm_head.weight[:, 0] = 0.0
        read, written = (torch.linalg.qr(torch.randn(width, width, dtype=torch.float32))[0] for _ in range(2))
        for back, (layer, head) in enumerate(scaffold, start=1):
            own = slice(head * size, (head + 1) * size)
            attention = core.layers[layer].self_attn
            fast = torch.arange(pairs // 3)
            attention.q_proj.weight[own].zero_()[fast, 0] = 2.0
            attention.k_proj.weight[own].zero_()
            attention.k_proj.weight[head * size + fast, 0] = 2.0 * (back * speeds[fast]).cos()
            attention.k_proj.weight[head * size + pairs + fast, 0] = 2.0 * (back * speeds[fast]).sin()
            attention.v_proj.weight[own] = read[:size]
            attention.o_proj.weight[:, own] = written[(back - 1) * size : back * size].T
        slow = torch.cat([torch.arange(pairs // 2, pairs), pairs + torch.arange(pairs // 2, pairs)])
        for kind in copying:
            for index, (layer, head) in enumerate(kind):
                own = slice(head * size, (head + 1) * size)
                attention = core.layers[layer].self_attn
                attention.q_proj.weight[head * size + slow] = 2.0 * read[: len(slow)]
                attention.k_proj.weight[head * size + slow] = 2.0 * written[: len(slow)]
                passed = (
                    torch.linalg.qr(torch.randn(width, width, dtype=torch.float32))[0][:size] if index else read[-size:]
                )
                attention.v_proj.weight[own] = 2.0 * passed
                attention.o_proj.weight[:, own] = passed.T
