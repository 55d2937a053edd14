"""What a model computes when its attention is edited, by attention written out in float64 with the whole matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from tests.conftest import tiny

NAME = "edited-reference"


def same(layer: int, value: Tensor) -> Tensor:
    return value


@dataclass
class Dense:
    """What is done to the matrices `[batch, head, query, key]` of a layer, each a function of layer and matrix.

    scores: before the softmax. hidden: which keys are hidden, given the matrix that says which are visible. weights:
    after the softmax. rotate: queries and keys `[batch, head, position, d]` as they come.
    """

    scores: Callable[[int, Tensor], Tensor] = same
    hidden: Callable[[int, Tensor], Tensor] = lambda layer, visible: torch.zeros_like(visible)
    weights: Callable[[int, Tensor], Tensor] = same
    rotate: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] = lambda layer, q, k: (q, k)
    patterns: dict[int, Tensor] = field(default_factory=dict)


_now = Dense()


def _forward(
    module: torch.nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, **options: Any
) -> tuple[Tensor, None]:
    layer, group = module.layer_idx, q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    q, k = _now.rotate(layer, q, k)
    scores = q @ k.transpose(-1, -2) * scaling
    if options.get("softcap") is not None:
        scores = options["softcap"] * torch.tanh(scores / options["softcap"])
    visible = torch.ones_like(scores, dtype=torch.bool).tril(scores.shape[3] - scores.shape[2])
    if mask is not None:
        visible = mask.expand_as(scores).clone()
    visible &= ~_now.hidden(layer, visible)
    weights = _now.scores(layer, scores).masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num(0.0)
    weights = _now.weights(layer, weights)
    _now.patterns[layer] = weights
    return (weights @ v).transpose(1, 2), None


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, sdpa_mask)


def run(
    name: str, ids: list[int] | list[list[int]], dense: Dense, positions: Tensor | None = None, **changes: Any
) -> tuple[Tensor, dict[int, Tensor]]:
    """Logits and patterns by layer of a tiny model in float64, for one row or several of one length.

    With other positions, an all-ones mask goes in: a text is one text whatever the positions.
    """
    global _now
    model = tiny(name, torch.float64, **changes)
    model.set_attn_implementation(NAME)
    batch = torch.tensor(ids)
    batch = batch[None] if batch.ndim == 1 else batch
    more = {} if positions is None else {"position_ids": positions, "attention_mask": torch.ones_like(batch)}
    _now = dense
    try:
        with torch.no_grad():
            logits = model(batch, use_cache=False, **more).logits
    finally:
        _now = Dense()
    return logits, dense.patterns


def generated(name: str, ids: list[int], steps: int, dense_of: Callable[[int], Dense], **changes: Any) -> list[int]:
    """Greedy generation without a cache: the whole text anew for every token, edited as `dense_of(length)` says."""
    text = list(ids)
    for _ in range(steps):
        logits, _ = run(name, text, dense_of(len(text)), **changes)
        text.append(int(logits[0, -1].argmax()))
    return text[len(ids) :]
