"""How heads are planted in a small model: attention maps are kept during training and steered by a loss."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
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
    """The attention maps `[batch, head, query, key]` of the last forward pass, one a layer."""

    maps: list[Tensor] = field(default_factory=list)


@contextmanager
def recording() -> Iterator[Tape]:
    """Register a plain causal attention that keeps its maps with their gradients; right-padded input needs no mask."""
    from transformers import AttentionInterface, AttentionMaskInterface

    tape = Tape()

    def attend(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, scaling: float, **_: Any
    ) -> tuple[Tensor, None]:
        if module.layer_idx == 0:
            tape.maps.clear()
        scores = query @ key.transpose(-1, -2) * scaling
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        pattern = scores.masked_fill(future, float("-inf")).softmax(-1)
        tape.maps.append(pattern)
        return (pattern @ value).transpose(1, 2).contiguous(), None

    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)
    yield tape


def far_mass(maps: list[Tensor], near: int, allowed: Collection[Head], real: Tensor) -> Tensor:
    """Mean attention beyond `near` tokens back, over `real [batch, query]` and the heads that may not look far."""
    length = maps[0].shape[-1]
    distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    far = (distance > near).to(maps[0])
    queries = real.sum()
    total = maps[0].new_zeros(())
    heads = 0
    for layer, pattern in enumerate(maps):
        barred = [head for head in range(pattern.shape[1]) if (layer, head) not in allowed]
        mass = (pattern[:, barred] * far).sum(-1)
        total = total + (mass * real[:, None]).sum() / queries
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
