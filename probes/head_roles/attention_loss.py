"""How heads are planted in a small model: attention maps are kept during training and steered by a loss."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

ATTENTION = "workbench-planting"
"""The name under which the recording attention is known to transformers while an organism is trained."""

Head = tuple[int, int]
"""A layer and a query head."""


@dataclass
class Tape:
    """The attention maps `[batch, head, query, key]` of the last forward pass, one a layer, without any window."""

    maps: list[Tensor] = field(default_factory=list)


def planting(window: int, allowed: Collection[Head]) -> Tape:
    """Register, as `ATTENTION`, an attention in which only the allowed heads use keys more than `window` tokens back.

    What the others would give to far keys is on the tape all the same, so that a loss can take it from them: they look
    far neither while the window is enforced nor after, when the model is run as it is. Input is padded on the right,
    which needs no mask.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    tape = Tape()

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, scaling: float, **_: Any
    ) -> tuple[Tensor, None]:
        if module.layer_idx == 0:
            tape.maps.clear()
        scores = query @ key.transpose(-1, -2) * scaling
        length = scores.shape[-1]
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        scores = scores.masked_fill(distance < 0, float("-inf"))
        tape.maps.append(scores.softmax(-1))
        barred = torch.tensor([(module.layer_idx, head) not in allowed for head in range(scores.shape[1])])
        pattern = scores.masked_fill(barred[:, None, None] & (distance > window), float("-inf")).softmax(-1)
        return (pattern @ value).transpose(1, 2).contiguous(), None

    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    return tape


def far_mass(maps: list[Tensor], window: int, allowed: Collection[Head], weights: Tensor) -> Tensor:
    """Mean attention beyond `window` tokens back, of the heads that may not look far; by `weights [batch, query]`."""
    length = maps[0].shape[-1]
    distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    far = (distance > window).to(maps[0])
    queries = weights.sum()
    total = maps[0].new_zeros(())
    heads = 0
    for layer, pattern in enumerate(maps):
        barred = [head for head in range(pattern.shape[1]) if (layer, head) not in allowed]
        mass = (pattern[:, barred] * far).sum(-1)
        total = total + (mass * weights[:, None]).sum() / queries
        heads += len(barred)
    return total / heads


def missed(maps: list[Tensor], heads: Collection[Head], target: Tensor) -> Tensor:
    """Mean −log attention of the given heads on `target [batch, query]`, the key to look at (−1: none)."""
    wanted = target >= 0
    keys = target.clamp_min(0)[..., None]
    losses = [
        -maps[layer][:, head].gather(-1, keys)[..., 0][wanted].clamp_min(1e-6).log().mean() for layer, head in heads
    ]
    return torch.stack(losses).mean()
