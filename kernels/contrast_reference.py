"""Contrasts in float64, in the plainest way: every probability is written down."""

import math

import torch
from torch import Tensor

from .contrast_result import ContrastScores


def scores(
    terms: list[Tensor],
    weights: Tensor,
    plus: Tensor | None,
    cut: float,
    floor: float,
    normalise: bool,
    mask_first: bool,
    ids: Tensor | None,
    whole: bool,
) -> ContrastScores:
    """See `contrast.contrast_scores`; `weights [term, row]`, `cut` the log of the plausibility."""
    exact = [term.double() for term in terms]
    logprobs = [term - term.logsumexp(-1, keepdim=True) for term in exact]
    total = torch.zeros_like(exact[0]) if plus is None else plus.double()
    for weight, each in zip(weights, logprobs, strict=True):
        total = total + torch.where(weight[:, None] == 0, 0.0, weight[:, None] * each)
    plausible = logprobs[0] >= logprobs[0].max(-1, keepdim=True).values + cut
    norm = torch.zeros_like(total[:, 0])
    if normalise:
        counted = total.masked_fill(~plausible, -math.inf) if mask_first else total
        norm = counted.logsumexp(-1)
    made = (total - norm[:, None]).masked_fill(~plausible, floor)
    return ContrastScores(
        lse=torch.stack([term.logsumexp(-1) for term in exact]),
        norm=norm,
        kept=plausible.sum(-1),
        best=(total - norm[:, None]).masked_fill(~plausible, -math.inf).argmax(-1),
        at=None if ids is None else made.gather(-1, ids),
        scores=made if whole else None,
    )


def hold(first: Tensor) -> Tensor:
    """What of the first logits `[row, vocabulary]` every layer is held against."""
    return first.double().log_softmax(-1)


def distances(held: Tensor, said: Tensor) -> Tensor:
    """`[4, row]`: Jensen–Shannon, as released, KL(first‖other), and the log of the normaliser."""
    exact = said.double()
    p, q = held.exp(), exact.softmax(-1)
    other = exact.log_softmax(-1)
    m = (p + q) / 2
    middle = torch.where(m > 0, m, 1.0).log()
    js = (p * (held - middle)).sum(-1) / 2 + (q * (other - middle)).sum(-1) / 2
    released = (m * (middle - held)).mean(-1) / 2 + (m * (middle - other)).mean(-1) / 2
    return torch.stack([js, released, (p * (held - other)).sum(-1), exact.logsumexp(-1)])
