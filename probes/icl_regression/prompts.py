"""Prompts of in-context regression: tasks, shifts of their distribution, and the tokens of a model of numbers.

A prompt has its own weights w ~ N(0, τ²I); x ~ N(0, I) and y = wᵀx + ε with ε ~ N(0, σ²). Tokens alternate: `[0, x]`,
then `[y, 0]` (arXiv 2211.15661). What is predicted of y is read at the token of its x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Shift = Literal["none", "scaled", "skewed", "half_subspace", "repeated_query", "orthogonal_query"]
SHIFTS: dict[Shift, str] = {
    "none": "inputs as in training",
    "scaled": "inputs twice as large",
    "skewed": "inputs whose variances fall as 1/i along random directions",
    "half_subspace": "inputs from half of the dimensions, along random directions",
    "repeated_query": "a query that is one of the prompt's own inputs",
    "orthogonal_query": "a query orthogonal to all inputs before it (fewer than d of them)",
}


@dataclass(frozen=True)
class Prompts:
    """`x [prompt, position, d]`, `y [prompt, position]` and the weights of each task, `w [prompt, d]`; float64."""

    x: Tensor
    y: Tensor
    w: Tensor

    def __len__(self) -> int:
        return len(self.x)

    @property
    def dimensions(self) -> int:
        return self.x.shape[-1]

    @property
    def length(self) -> int:
        """Pairs of a prompt; the last one is only asked for."""
        return self.x.shape[1]


def sample(
    n: int,
    length: int,
    dimensions: int,
    rng: np.random.Generator,
    noise: float = 0.0,
    spread: float = 1.0,
    shift: Shift = "none",
    weights: np.ndarray | None = None,
) -> Prompts:
    """`n` prompts of `length` pairs; `noise` is σ, `spread` is τ, and `weights [d]` stand for those of every task.

    A shift of queries is no matter of the prompt: `shifted_queries` makes them.
    """
    drawn = rng.standard_normal((n, dimensions)) * spread
    w = drawn if weights is None else np.broadcast_to(weights, drawn.shape)
    x = rng.standard_normal((n, length, dimensions)) @ _shape(shift, n, dimensions, rng)
    y = np.einsum("pnd,pd->pn", x, w) + noise * rng.standard_normal((n, length))
    return Prompts(*(torch.from_numpy(np.ascontiguousarray(each)) for each in (x, y, w)))


def _shape(shift: Shift, n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """What standard normal inputs are multiplied by, `[prompt, d, d]`."""
    if shift == "scaled":
        return np.broadcast_to(2 * np.eye(d), (n, d, d))
    if shift not in ("skewed", "half_subspace"):
        return np.broadcast_to(np.eye(d), (n, d, d))
    basis = np.linalg.qr(rng.standard_normal((n, d, d)))[0]
    if shift == "half_subspace":
        kept = (np.arange(d) < max(1, d // 2)).astype(np.float64)
    else:
        kept = 1 / np.arange(1, d + 1)
        kept = np.sqrt(kept * d / kept.sum())  # as large as before on average
    return basis * kept @ basis.transpose(0, 2, 1)


def shifted_queries(prompts: Prompts, prefix: int, shift: Shift, rng: np.random.Generator) -> Tensor:
    """One query after the first `prefix` pairs of each prompt, `[prompt, d]`: as in the prompt, repeated or orthogonal.

    An orthogonal query has the norm of the prompt's own; NaN where the inputs leave no room for one.
    """
    own = prompts.x[:, prefix]
    if shift == "repeated_query" and prefix:
        return prompts.x[torch.arange(len(prompts)), torch.from_numpy(rng.integers(prefix, size=len(prompts)))]
    if shift == "orthogonal_query" and prefix:
        if prefix >= prompts.dimensions:
            return torch.full_like(own, torch.nan)
        rows = prompts.x[:, :prefix]
        left = own - (torch.linalg.pinv(rows) @ (rows @ own[..., None]))[..., 0]
        return left * (own.norm(dim=-1) / left.norm(dim=-1))[:, None]
    return own


def tokens(x: Tensor, y: Tensor) -> Tensor:
    """Values `[prompt, token, 1 + d]`: x and y in turn; the last y is left out, as nothing comes after it."""
    pairs, length, d = x.shape
    found = torch.zeros(pairs, 2 * length, 1 + d, dtype=torch.float32)
    found[:, 0::2, 1:] = x.float()
    found[:, 1::2, 0] = y.float()
    return found[:, :-1]
