"""Reference predictors: what a known learning algorithm says of each prefix of each prompt.

Every one is fitted on the first n pairs of a prompt and asked for the pair after them; with no pairs it says 0. Most
are linear, and have weights. All are computed in float64, for all prompts and prefixes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import UsageError

Weights = Callable[[Tensor, Tensor], Tensor]
"""From `x [prompt, position, d]` and `y [prompt, position]` to the weights of each prefix, `[prompt, prefix, d]`."""
Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From the same and `queries [prompt, prefix, query, d]` to predictions `[prompt, prefix, query]`."""


@dataclass(frozen=True)
class Predictor:
    """A learning algorithm; prefix n is the first n pairs, and there are as many prefixes as positions."""

    name: str
    weights: Weights | None = None
    """None where predictions are not linear in the query."""
    rule: Rule | None = None

    def predict(self, x: Tensor, y: Tensor, queries: Tensor | None = None) -> Tensor:
        """Predictions `[prompt, prefix]` for the pair after each prefix, or `[prompt, prefix, query]` for `queries`."""
        x, y = x.double(), y.double()
        asked = x[:, :, None] if queries is None else queries.double()
        if self.weights is not None:
            found = torch.einsum("pnd,pnqd->pnq", self.weights(x, y), asked)
        else:
            assert self.rule is not None
            found = self.rule(x, y, asked)
        return found[..., 0] if queries is None else found


def zero() -> Predictor:
    """Always 0: what a model says that learns nothing from the prompt."""
    return Predictor("zero", lambda x, y: torch.zeros_like(x))


def ols() -> Predictor:
    """Least squares; of fewer pairs than dimensions the solution of least norm, which passes through all of them."""
    return Predictor("ols", _least_norm)


def ridge(penalty: float) -> Predictor:
    """`(XᵀX + λI)⁻¹ Xᵀy`, without an intercept; with λ = 0 least squares.

    With λ = σ²/τ², for labels with noise σ and weights of deviation τ, it is the mean of the posterior: no predictor
    has a smaller expected error.
    """
    if penalty < 0:
        raise UsageError(f"the penalty of a ridge is 0 or more, not {penalty:g}")
    if penalty == 0:
        return Predictor("ridge 0", _least_norm)

    def weights(x: Tensor, y: Tensor) -> Tensor:
        gram, moment = prefix_moments(x, y)
        return torch.linalg.solve(gram + penalty * torch.eye(x.shape[-1], dtype=x.dtype), moment)

    return Predictor(f"ridge {penalty:g}", weights)


def gradient_descent(rate: float, steps: int = 1) -> Predictor:
    """Steps on the sum of squared errors, from 0: `w ← w − 2α Xᵀ(Xw − y)`."""

    def weights(x: Tensor, y: Tensor) -> Tensor:
        gram, moment = prefix_moments(x, y)
        found = torch.zeros_like(moment)
        for _ in range(steps):
            found = found - 2 * rate * ((gram @ found[..., None])[..., 0] - moment)
        return found

    return Predictor(f"gd {rate:g}" + (f" ×{steps}" if steps > 1 else ""), weights)


def optimal_step(ratio: float = 0.0) -> Predictor:
    """One gradient step of the size that is best for normal inputs: `Xᵀy / (n + d + 1 + σ²/τ²)`."""

    def weights(x: Tensor, y: Tensor) -> Tensor:
        _, moment = prefix_moments(x, y)
        seen = torch.arange(x.shape[1], dtype=x.dtype)
        return moment / (seen + x.shape[-1] + 1 + ratio)[:, None]

    return Predictor("gd optimal", weights)


def one_pass_sgd(rate: float, penalty: float = 0.0) -> Predictor:
    """One step a pair, in their order: `w ← w − 2α (x xᵀw − x y + λw)`."""

    def weights(x: Tensor, y: Tensor) -> Tensor:
        now = torch.zeros_like(x[:, 0])
        found = []
        for place in range(x.shape[1]):
            found.append(now)
            row = x[:, place]
            error = (row * now).sum(-1) - y[:, place]
            now = now - 2 * rate * (row * error[:, None] + penalty * now)
        return torch.stack(found, 1)

    return Predictor(f"sgd {rate:g}", weights)


def averaging() -> Predictor:
    """`Xᵀy / n`."""

    def weights(x: Tensor, y: Tensor) -> Tensor:
        _, moment = prefix_moments(x, y)
        return moment / torch.arange(x.shape[1], dtype=x.dtype).clamp_min(1)[:, None]

    return Predictor("averaging", weights)


def newton(steps: int) -> Predictor:
    """Iterative Newton for the pseudo-inverse of S = XᵀX: `A ← A(2I − SA)` from `S/‖S‖²` (arXiv 2310.17086)."""

    def weights(x: Tensor, y: Tensor) -> Tensor:
        gram, moment = prefix_moments(x, y)
        largest = torch.linalg.eigvalsh(gram)[..., -1].clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
        inverse = gram / largest.square()[..., None, None]
        twice = 2 * torch.eye(x.shape[-1], dtype=x.dtype)
        for _ in range(steps):
            inverse = inverse @ (twice - gram @ inverse)
        return (inverse @ moment[..., None])[..., 0]

    return Predictor(f"newton {steps}", weights)


def nearest_neighbours(k: int = 3, weighted: bool = False) -> Predictor:
    """Mean label of the k nearest pairs, or of all where there are fewer; weighted by 1 / distance² if asked."""

    def rule(x: Tensor, y: Tensor, queries: Tensor) -> Tensor:
        length = x.shape[1]
        apart = (queries[:, :, :, None] - x[:, None, None]).square().sum(-1)
        seen = torch.arange(length)[None, :] < torch.arange(length)[:, None]
        apart = apart.masked_fill(~seen[None, :, None], torch.inf)
        near, where = apart.topk(min(k, length), -1, largest=False)
        there = near.isfinite()
        # a query that lies on a pair has that pair's label
        share = torch.where(there, 1 / near.clamp_min(1e-24), 0.0) if weighted else there.to(x.dtype)
        labels = y[:, None, None].expand_as(apart).gather(-1, where)
        return (share * labels).sum(-1) / share.sum(-1).clamp_min(torch.finfo(x.dtype).tiny)

    return Predictor(f"{k}-nn" + (" weighted" if weighted else ""), rule=rule)


def candidates(
    penalties: Sequence[float], rates: Sequence[float], steps: Sequence[int], ratio: float = 0.0
) -> list[Predictor]:
    """The algorithms that a learner is compared with; `ratio` is σ²/τ² of the prompts.

    Where it is above 0 the ridge with this penalty, the Bayes predictor, is among them as `bayes`; at 0 that is `ols`.
    """
    found = [zero(), ols(), *(ridge(each) for each in penalties), optimal_step(ratio)]
    found += [gradient_descent(rate, count) for rate in rates for count in dict.fromkeys((1, *steps))]
    found += [one_pass_sgd(rate) for rate in rates]
    found += [averaging(), newton(3), nearest_neighbours(3), nearest_neighbours(3, weighted=True)]
    if ratio > 0:
        found = [each for each in found if each.name != f"ridge {ratio:g}"]
        found.append(Predictor("bayes", ridge(ratio).weights))
    return list({each.name: each for each in found}.values())


def prefix_moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """`XᵀX [prompt, prefix, d, d]` and `Xᵀy [prompt, prefix, d]` of the first n pairs, for every n."""
    outer, products = x[..., :, None] * x[..., None, :], x * y[..., None]
    return _before(outer), _before(products)


def _before(each: Tensor) -> Tensor:
    """Sums over all positions before each, along the second axis."""
    return torch.cat([torch.zeros_like(each[:, :1]), each.cumsum(1)[:, :-1]], 1)


def _least_norm(x: Tensor, y: Tensor) -> Tensor:
    # by the singular values of X itself: XᵀX squares them, and loses half the digits where n is near d
    seen = torch.tril(torch.ones(x.shape[1], x.shape[1], dtype=x.dtype), -1)
    rows = x[:, None] * seen[None, :, :, None]
    return (torch.linalg.pinv(rows) @ (y[:, None] * seen)[..., None])[..., 0]
