"""Squared prediction difference, implied linear weights and their difference, as Akyürek et al. define them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def squared_difference(first: Tensor, second: Tensor, dimensions: int) -> np.ndarray:
    """SPD of two predictors before its mean over prompts, divided by d; `[prompt, …]`."""
    return ((first - second).square() / dimensions).numpy()


def mean_below(spd: np.ndarray, dimensions: int) -> np.ndarray:
    """Of SPD `[prompt, prefix]` the mean over the prefixes 1 to d − 1, where many weights fit; `[prompt]`.

    Its mean over prompts is MSPD. With d = 1 there is no such prefix, and it is that of one pair.
    """
    return spd[:, 1 : max(2, dimensions)].mean(1)


def implied_weights(said: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Weights, without an intercept, that come nearest to what was said of `queries [prompt, query, d]`.

    Returns weights `[prompt, d]` and the share of the answers' squares that they leave unexplained, `[prompt]`.
    """
    found = torch.linalg.lstsq(queries, said[..., None]).solution[..., 0]
    left = (said - (queries @ found[..., None])[..., 0]).square().sum(1)
    return found, left / said.square().sum(1).clamp_min(torch.finfo(said.dtype).tiny)


def nearest_two(spd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of the nearest and the second nearest predictor of SPD `[predictor, prefix]`, each `[prefix]`."""
    order = spd.argsort(0, kind="stable")
    return order[0], order[1]
