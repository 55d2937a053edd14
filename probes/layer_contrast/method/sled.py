"""SLED: the last layer's logits, moved a few steps toward what the way from lower layers to it points at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Evolution:
    """rate: the first step's size; it falls evenly to 0 over `steps`.

    scale: how many of the likeliest tokens are moved. lower_bound: the logit of all others.

    Zhang et al. 2024 (arXiv 2411.02433), with the values of its TruthfulQA runs.
    """

    rate: float = 2.0
    scale: int = 10
    steps: int = 10
    lower_bound: float = -100.0


def evolved(last: Tensor, layers: int, lower: Callable[[int], Tensor], how: Evolution) -> Tensor:
    """Logits `[row, vocabulary]` after the evolution; `lower(i)` gives those of the i-th lower layer.

    For each lower layer, the way from the last logits back to its own is compared, by cosine, with the gradient toward
    each of the likeliest tokens, p − e. Positive cosines, squared, are that layer's estimate of the right distribution;
    layers count by their sum of squares. The logits then follow the gradient toward the mean estimate.

    As in the released code, and in one pass over each layer: a cosine needs three sums over the vocabulary.
    """
    scale = min(how.scale, last.shape[-1])
    top = last.topk(scale, dim=-1).indices
    squares = last.new_zeros(layers, len(last), scale)
    for place in range(layers):
        logits = lower(place).to(last.dtype)
        p, way = logits.softmax(-1), logits - last
        of_top, way_of_top = p.gather(-1, top), way.gather(-1, top)
        dot = (p * way).sum(-1, keepdim=True) - way_of_top
        size = ((p * p).sum(-1, keepdim=True) - 2 * of_top + 1).clamp(min=0).sqrt()
        cosine = dot / (size * way.norm(dim=-1, keepdim=True)).clamp(min=1e-8)
        squares[place] = cosine.clamp(min=0) ** 2
    sums = squares.sum(-1, keepdim=True)
    estimates = torch.where(sums > 0, squares / sums.clamp(min=1e-30), squares)
    total = sums.sum(0, keepdim=True)
    shares = torch.where(total > 0, sums / total.clamp(min=1e-30), sums)
    wanted = torch.zeros_like(last).scatter(-1, top, (estimates * shares).sum(0))
    moved = last.clone()
    for step in range(how.steps):
        moved -= how.rate * (1 - step / how.steps) * (moved.softmax(-1) - wanted)
    return torch.full_like(last, how.lower_bound).scatter(-1, top, moved.gather(-1, top))


def lower_layers(logits: Sequence[Tensor]) -> tuple[int, Callable[[int], Tensor]]:
    """The lower layers of `evolved` where all their logits are at hand."""
    return len(logits), lambda place: logits[place]
