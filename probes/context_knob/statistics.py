"""Intervals: a bootstrap over subjects, since items of one subject are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
DRAWS = 2000
_Z = 1.959963984540054


class Interval(NamedTuple):
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float


def over_subjects(values: np.ndarray, subjects: Sequence[str], rng: np.random.Generator) -> Interval:
    """Mean of values `[example]` or `[sample, example]`, with subjects drawn again, and samples where there are some.

    At least as wide as Wilson's interval with one trial a subject: a bootstrap has no width where all agree.
    """
    values = np.atleast_2d(np.asarray(values, np.float64))
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    count = len(names)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)[:, owner]
    sets = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=DRAWS)
    means = np.einsum("ds,se,de->d", sets, values, drawn) / (drawn.sum(1) * len(values))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = float(values.mean())
    centre = (mean + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * np.sqrt(max(0.0, mean * (1 - mean)) / count + _Z**2 / (4 * count**2))
    return Interval(mean, min(float(low), max(0.0, centre - half)), max(float(high), min(1.0, centre + half)))
