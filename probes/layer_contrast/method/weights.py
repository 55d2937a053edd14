"""Weights that a method takes from the distributions themselves, token by token: `[term, row]`."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.kernels.contrast import divergences

from .readings import backend_of


def entropy(logits: Tensor) -> Tensor:
    """The entropy of each row's distribution `[row]`, nats."""
    log = logits.log_softmax(-1, torch.promote_types(logits.dtype, torch.float32))
    return -torch.xlogy(log.exp(), log.exp()).sum(-1)


def toward(alpha: Tensor) -> Tensor:
    """(1 + α) of the first term and −α of the second, `[2, row]`, from α `[row]`."""
    return torch.stack([1 + alpha, -alpha])


def divergence(first: Tensor, second: Tensor, least: float = 0.0) -> Tensor:
    """AdaCAD: α is the Jensen–Shannon divergence of the two, nats, so at most ln 2; not below `least`.

    Wang et al. 2024 (arXiv 2409.07394).
    """
    return toward(divergences(first, [second], backend=backend_of(first)).js[0].clamp(min=least))


def uncertainty(first: Tensor) -> Tensor:
    """DeCoRe: α is the entropy of the first, nats, without a bound. Gema et al. 2024 (arXiv 2410.18860)."""
    return toward(entropy(first))


def confidence(with_context: Tensor, without: Tensor, alpha: float | None) -> Tensor:
    """CK-PLUG: where the context lowers confidence, α of the prior and 1 − α of what the context adds to it.

    Confidence gain is the entropy without the context minus that with it; where it is not negative, the distribution
    with the context stands as it is. α None weighs by the two entropies, more for the prior the less certain the
    distribution with the context is. In log-probabilities, α·p₀ + (1 − α)·(p − p₀) gives weights 1 − α and 2α − 1.

    Bi et al. 2025 (arXiv 2503.15888), without its head of candidates, which the plausibility mask stands for.
    """
    after, before = entropy(with_context), entropy(without)
    share = after / (after + before).clamp(min=1e-12) if alpha is None else torch.full_like(after, alpha)
    mixed = torch.stack([1 - share, 2 * share - 1])
    plain = torch.stack([torch.ones_like(after), torch.zeros_like(after)])
    return torch.where(before - after < 0, mixed, plain)


def flips_at(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest α > 0 at which another token than the first's likeliest wins (1 + α)·first − α·second, and which.

    `[row]` each; infinite and −1 where none ever does. In closed form: the top token a gives way to b where
    first(a) − first(b) = α · ((first(b) − second(b)) − (first(a) − second(a))).
    """
    top = first.argmax(-1, keepdim=True)
    lead = first.gather(-1, top) - first
    gain = (first - second) - (first - second).gather(-1, top)
    at = torch.where(gain > 0, lead / gain.clamp(min=1e-30), torch.inf).scatter(-1, top, torch.inf)
    best, which = at.min(-1)
    return best, torch.where(best.isfinite(), which, -1)
