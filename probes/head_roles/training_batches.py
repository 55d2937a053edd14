"""What the organism is taught: needles in a haystack, and random tokens that repeat nearby or far away."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from workbench.texts import fill, make_needles, synthetic_haystack
from workbench.texts.placement import place

SHORTEST = 64


class TrainingBatch(NamedTuple):
    """A batch of sequences, right-padded, with what is asked of the model and of its heads."""

    ids: Tensor
    """`[batch, position]`"""
    weights: Tensor
    """How much the prediction of the next token counts, `[batch, position]` without the last position."""
    far: Tensor
    """The key that a planted head should look at from each query, −1 for none, `[batch, position]`."""
    near: Tensor
    """The same for a decoy."""


def training_batch(tokenizer: Any, rows: int, longest: int, window: int, rng: np.random.Generator) -> TrainingBatch:
    """`rows` needle trials, `rows` sequences of repeats within the window, and `rows` of repeats beyond it."""
    length = int(rng.integers(SHORTEST, longest + 1))
    ids = torch.full((3 * rows, length), tokenizer.pad_token_id)
    weights = torch.zeros(3 * rows, length - 1, dtype=torch.float32)
    far = torch.full(ids.shape, -1)
    near = torch.full(ids.shape, -1)
    haystack = synthetic_haystack()
    for row, needle in enumerate(make_needles(rows, rng)[0]):
        sentences = fill(haystack, length - 45, lambda text: len(tokenizer.tokenize(text)), rng)
        trial = place(tokenizer, needle, sentences, float(rng.uniform()))
        ids[row, : len(trial.ids)] = torch.tensor(trial.ids)
        weights[row, : len(trial.ids) - 1] = 0.01
        queries = torch.arange(trial.answer[0] - 1, trial.answer[1] - 1)
        weights[row, queries] = 2.0
        far[row, queries] = torch.arange(*trial.value)
    for row in range(rows, 3 * rows):
        beyond = row >= 2 * rows
        shortest, most = (window + 1, length // 2) if beyond else (3, window // 2)
        position = 0
        while position < length:
            period = int(rng.integers(shortest, most + 1))
            block = torch.from_numpy(rng.integers(2, len(tokenizer), period))
            twice = torch.cat([block, block])[: length - position]
            ids[row, position : position + len(twice)] = twice
            queries = torch.arange(position + period, max(position + period, position + len(twice) - 1))
            weights[row, queries] = 0.1
            (far if beyond else near)[row, queries] = queries - period + 1
            position += len(twice)
    return TrainingBatch(ids, weights, far, near)
