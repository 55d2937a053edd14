"""Sets of heads to ablate, and what replaces their output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, assert_never

import numpy as np

from workbench.internals import edits

from .attention_loss import Head
from .config import Ablation

if TYPE_CHECKING:
    from workbench.internals.edits import Edit


class Matched(NamedTuple):
    """A random set, and how many of its heads had to come from another layer."""

    heads: tuple[Head, ...]
    borrowed: int


def ranked(score: np.ndarray, mass: np.ndarray) -> list[Head]:
    """All heads `[layer, head]`, the highest score first; the attention on the token to copy breaks ties."""
    order = np.lexsort((-mass.ravel(), -score.ravel()))
    heads = score.shape[1]
    return [(int(index) // heads, int(index) % heads) for index in order]


def matched(top: Sequence[Head], layers: int, heads: int, rng: np.random.Generator) -> Matched:
    """As many random heads as `top` has in each layer, none of them in `top`.

    Where a layer has too few others, all of them are taken and the rest comes from the nearest layers that have some.
    """
    free = {layer: [h for h in rng.permutation(heads).tolist() if (layer, h) not in top] for layer in range(layers)}
    chosen: list[Head] = []
    lacking: list[int] = []
    for layer, count in sorted(Counter(layer for layer, _ in top).items()):
        taken, free[layer] = free[layer][:count], free[layer][count:]
        chosen += [(layer, head) for head in taken]
        lacking += [layer] * (count - len(taken))
    for layer in lacking:
        nearest = min((other for other in free if free[other]), key=lambda other: (abs(other - layer), other))
        chosen.append((nearest, free[nearest].pop()))
    return Matched(tuple(sorted(chosen)), len(lacking))


def replace(
    chosen: Sequence[Head], states: np.ndarray, how: Ablation, positions: int, rng: np.random.Generator
) -> list[Edit]:
    """Edits that cut heads out of a run over `positions` tokens, at every position.

    `states [layer, sample, head, d_head]` are outputs of the heads on texts without a needle: `mean` writes their mean,
    `resample` one of them at random at each position (the same for all heads of a layer), `zero` writes nothing.
    """
    import torch

    if how == "zero":
        return [edits.set(f"z.{layer}.{head}", 0.0) for layer, head in chosen]
    if how == "mean":
        means = states.mean(1)
        return [edits.set(f"z.{layer}.{head}", torch.from_numpy(means[layer, head])) for layer, head in chosen]
    if how != "resample":
        assert_never(how)
    drawn = rng.integers(states.shape[1], size=positions)
    return [edits.set(f"z.{layer}.{head}", torch.from_numpy(states[layer, drawn, head])) for layer, head in chosen]
