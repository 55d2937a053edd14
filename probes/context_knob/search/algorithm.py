"""The layer search of Controllable Context Sensitivity (2411.07404): the smallest range of blocks that brings an
answer in, and the later blocks that would overwrite it.

Works on any reading of a patched run, so it can be followed by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

Verdict = Literal["found", "overwritten", "there already", "out of reach"]
"""`found`: the patched answer reaches the output. `overwritten`: a block reads it, and the output does not say it.
`there already`: without any patch. `out of reach`: not even with every block patched."""
SHARE = 0.9
LEAST = 0.5


class Thresholds(NamedTuple):
    """tau: the mean probability that the source's answer must exceed after some block. epsilon: by how much it must
    exceed the target's answer at the output. phi: a loss from one block to the next that counts as overwriting."""

    tau: float
    epsilon: float
    phi: float


class Look(NamedTuple):
    """One evaluation: which blocks were patched, at which step of the search, and what was concluded.

    source, target: mean probability of the two answers after each block, `[layer]`.
    """

    step: str
    blocks: tuple[int, ...]
    source: np.ndarray
    target: np.ndarray
    decision: str


@dataclass(frozen=True)
class Searched:
    """What a search returned, and every evaluation on its way."""

    verdict: Verdict
    blocks: tuple[int, ...]
    looks: list[Look] = field(default_factory=list)


def chosen_tau(every: np.ndarray) -> float:
    """Nine tenths of what patching every block reaches, `[layer]`, and at least one half.

    Below one half the source's answer would not be the likeliest token.
    """
    return max(LEAST, SHARE * float(every.max()))


def search(read: Callable[[Collection[int]], np.ndarray], layers: int, limits: Thresholds) -> Searched:
    """Search for the blocks whose patch brings the source's answer in; `read` gives means `[layer, answer]`.

    A: the smallest u such that patching [0, u) exceeds tau after some block. B: the largest l such that [l, u) still
    does. C: while the source's answer does not exceed the target's by epsilon at the output, the next block after those
    patched at which it loses more than phi is patched too; the search ends where there is none. Both bounds that are
    returned were evaluated, and so were their neighbours.
    """
    looks: list[Look] = []

    def holds(step: str, blocks: range | tuple[int, ...], yes: str, no: str) -> bool:
        means = read(blocks)
        passed = bool(means[:, 0].max() > limits.tau)
        looks.append(Look(step, tuple(blocks), means[:, 0], means[:, 1], yes if passed else no))
        return passed

    if holds("no patch", (), "the answer is there already", "not there yet"):
        return Searched("there already", (), looks)
    if not holds("every block", range(layers), "within reach", "out of reach"):
        return Searched("out of reach", (), looks)
    fails, upper = 0, layers
    while upper - fails > 1:
        middle = (fails + upper) // 2
        if holds("A", range(middle), "enough: fewer", "too few: more"):
            upper = middle
        else:
            fails = middle
    lower, fails = 0, upper
    while fails - lower > 1:
        middle = (lower + fails) // 2
        if holds("B", range(middle, upper), "enough: fewer", "too few: more"):
            lower = middle
        else:
            fails = middle
    return _refined(read, tuple(range(lower, upper)), limits, looks)


def _refined(
    read: Callable[[Collection[int]], np.ndarray], blocks: tuple[int, ...], limits: Thresholds, looks: list[Look]
) -> Searched:
    """Patch later blocks that overwrite the answer, each at most once."""
    step = "bounds"
    while True:
        means = read(blocks)
        source, target = means[:, 0], means[:, 1]
        if source[-1] > target[-1] + limits.epsilon:
            looks.append(Look(step, blocks, source, target, "reaches the output"))
            return Searched("found", blocks, looks)
        lost = np.flatnonzero(source[:-1] - source[1:] > limits.phi) + 1
        later = lost[lost > blocks[-1]]
        if not len(later):
            looks.append(Look(step, blocks, source, target, "no later block overwrites it: ended"))
            return Searched("overwritten", blocks, looks)
        looks.append(Look(step, blocks, source, target, f"overwritten at block {later[0]}: patched too"))
        step, blocks = "C", (*blocks, int(later[0]))
