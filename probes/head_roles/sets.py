"""Which sets of heads a run ablates, and the needle recall with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workbench.internals.architectures import Shape

from .ablation import Matched, matched
from .attention_loss import Head
from .config import Ablation, HeadRolesConfig


class Sizes(NamedTuple):
    """How many heads are ablated: the set of the headline, and the further sizes of the curve."""

    top: int
    curve: tuple[int, ...]


def sizes(shape: Shape, config: HeadRolesConfig) -> Sizes:
    """The set sizes that suit a model: the top set takes at most an eighth of its heads, the curve a quarter."""
    heads = shape.layers * shape.heads
    top = max(1, min(config.top, heads // 8))
    return Sizes(top, tuple(sorted({count for count in config.counts if count <= heads // 4 and count != top})))


@dataclass(frozen=True)
class HeadSet:
    """One set to ablate: the top heads or a random set of the same size, and what replaces their output."""

    kind: str
    count: int
    sample: int
    heads: tuple[Head, ...]
    how: Ablation
    borrowed: int = 0


def passes(found: Sizes, config: HeadRolesConfig) -> int:
    """How many sets a run ablates on every needle."""
    zeroed = 0 if config.ablation == "zero" else 1 + min(config.zero_sets, config.random_sets)
    return 1 + config.random_sets + zeroed + len(found.curve) * (1 + config.curve_sets)


def head_sets(
    order: Sequence[Head], found: Sizes, layers: int, heads: int, config: HeadRolesConfig, rng: np.random.Generator
) -> list[HeadSet]:
    """The top heads at every size, each beside random sets matched to it per layer; the main size is zeroed too."""
    made: list[HeadSet] = []
    for count in sorted({found.top, *found.curve}):
        top = tuple(order[:count])
        draws = config.random_sets if count == found.top else config.curve_sets
        random: list[Matched] = [matched(top, layers, heads, rng) for _ in range(draws)]
        ways: list[tuple[Ablation, int]] = [(config.ablation, draws)]
        if count == found.top and config.ablation != "zero":
            ways.append(("zero", min(config.zero_sets, draws)))
        for how, kept in ways:
            made.append(HeadSet("top", count, 0, top, how))
            made += [
                HeadSet("random", count, sample, each.heads, how, each.borrowed)
                for sample, each in enumerate(random[:kept])
            ]
    return made
