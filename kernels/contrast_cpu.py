"""Contrasts on the CPU: a few rows of logits at a time, each read once for its normaliser and once for its sums."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import contrast_tiles as tiles
from .contrast_result import ContrastScores
from .cpu_pool import run_tasks

ROWS = 8
"""Rows of one task."""


class Held(NamedTuple):
    """The first distribution: its logarithm and itself, `[row, vocabulary]`, and Σ p log p `[row]`."""

    log: Tensor
    p: Tensor
    negentropy: NDArray[np.float64]


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
    rows, vocabulary = terms[0].shape
    lse = torch.empty(len(terms), rows, dtype=torch.float32)
    norm = torch.zeros(rows, dtype=torch.float32)
    kept, best = torch.full((rows,), vocabulary), torch.empty(rows, dtype=torch.int64)
    at = None if ids is None else torch.empty(ids.shape, dtype=torch.float32)
    made = torch.empty(rows, vocabulary, dtype=torch.float32) if whole else None

    def some(part: slice) -> None:
        if plus is None:
            total = torch.zeros(part.stop - part.start, vocabulary, dtype=torch.float32)
        else:
            total = plus[part].float().clone(memory_format=torch.contiguous_format)
        hidden = None
        for place, term in enumerate(terms):
            said = _plain(term[part])
            log_sum, top = _lse(said)
            lse[place, part] = torch.from_numpy(log_sum).float()
            if place == 0 and cut > -math.inf:
                hidden = said < torch.from_numpy(top)[:, None] + cut
                kept[part] = vocabulary - hidden.sum(-1)
            tiles.add_term(said.numpy(), weights[place, part].numpy(), log_sum, total.numpy())
        if normalise and mask_first and hidden is not None:
            total.masked_fill_(hidden, -math.inf)
        if normalise:
            norm[part] = torch.from_numpy(_lse(total)[0]).float()
            total -= norm[part, None]
        if hidden is not None:
            total.masked_fill_(hidden, -math.inf)
        best[part] = total.argmax(-1)
        if hidden is not None and floor > -math.inf and (at is not None or made is not None):
            total.masked_fill_(hidden, floor)
        if at is not None and ids is not None:
            at[part] = total.gather(-1, ids[part])
        if made is not None:
            made[part] = total

    _in_parts(rows, vocabulary * len(terms), some)
    return ContrastScores(lse=lse, norm=norm, kept=kept, best=best, at=at, scores=made)


def hold(first: Tensor) -> Held:
    """What of the first logits `[row, vocabulary]` every layer is held against."""
    said = _plain(first)
    log_sum, _ = _lse(said)
    log = said - torch.from_numpy(log_sum)[:, None].float()
    p = log.exp()
    return Held(log, p, torch.linalg.vecdot(p, log).double().numpy())


def distances(held: Held, said: Tensor) -> Tensor:
    """`[4, row]`: Jensen–Shannon, as released, KL(first‖other), and the log of the normaliser."""
    logits = _plain(said)
    lse, sums = np.empty(len(logits)), np.empty((len(logits), 4))

    def some(part: slice) -> None:
        x = logits[part]
        log_sum, _ = _lse(x)
        tiles.distance_rows(held.log[part].numpy(), held.p[part].numpy(), x.numpy(), log_sum, sums[part])
        lse[part] = log_sum

    _in_parts(len(logits), logits.shape[1], some)
    cross, back, own, mixed = sums.T
    js = (held.negentropy + own) / 2 - mixed
    # Σ m log p is half of Σ p log p + Σ q log p, and so for q
    released = (mixed - (held.negentropy + back + cross + own) / 4) / logits.shape[1]
    return torch.from_numpy(np.stack([js, released, held.negentropy - cross, lse])).float()


def _in_parts(rows: int, row: int, run: Callable[[slice], None]) -> None:
    parts = [slice(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS)]
    list(run_tasks([lambda part=part: run(part) for part in parts], rows * row))  # type: ignore[misc]


def _plain(logits: Tensor) -> Tensor:
    return logits.detach().float().contiguous()


def _lse(x: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The log of the sum of exponentials and the maximum, `[row]` each."""
    lse, top = np.empty(len(x)), np.empty(len(x), np.float32)
    tiles.lse_rows(x.numpy(), lse, top)
    return lse, top
