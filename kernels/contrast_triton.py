"""Contrasts in Triton: one program a row, which goes over the vocabulary in tiles and keeps sums alone."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .contrast_result import ContrastScores
from .triton_launch import interpreted

TILE = 2048
WARPS = 8


@triton.jit
def tile_lse(m, total, x):  # type: ignore[no-untyped-def]
    """A running maximum and sum of exponentials with one more tile."""
    top = tl.maximum(m, tl.max(x, 0))
    base = tl.where(top == float("-inf"), 0.0, top)
    return top, total * tl.exp(m - base) + tl.sum(tl.exp(x - base), 0)


@triton.jit
def row_lse(x_ptr, n, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The maximum and the log of the normaliser of a row."""
    m, total = float("-inf"), 0.0
    for start in range(0, n, TILE):
        j = start + tl.arange(0, TILE)
        m, total = tile_lse(m, total, tl.load(x_ptr + j, mask=j < n, other=float("-inf")).to(tl.float32))
    return m, m + tl.log(total)


@triton.jit
def contrast_kernel(  # type: ignore[no-untyped-def]
    a_ptr, b_ptr, c_ptr, d_ptr, plus_ptr, weight_ptr, id_ptr, lse_ptr, norm_ptr, kept_ptr, best_ptr, at_ptr, out_ptr,
    a_row, b_row, c_row, d_row, plus_row, n, n_ids, cut, floor,
    TERMS: tl.constexpr, PLUS: tl.constexpr, NORMALISE: tl.constexpr, FIRST: tl.constexpr, IDS: tl.constexpr,
    WHOLE: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Scores of one row: normalisers of the terms, then F tile by tile, then what is asked of it.

    FIRST: F is normalised over plausible tokens only. Terms beyond TERMS are not read.
    """
    row = tl.program_id(0).to(tl.int64)
    rows = tl.num_programs(0)
    a_ptr += row * a_row
    b_ptr += row * b_row
    c_ptr += row * c_row
    d_ptr += row * d_row
    plus_ptr += row * plus_row
    top, a_lse = row_lse(a_ptr, n, TILE)
    b_lse, c_lse, d_lse = 0.0, 0.0, 0.0
    a_weight = tl.load(weight_ptr + row)
    b_weight, c_weight, d_weight = 0.0, 0.0, 0.0
    tl.store(lse_ptr + row, a_lse)
    if TERMS > 1:
        _, b_lse = row_lse(b_ptr, n, TILE)
        b_weight = tl.load(weight_ptr + rows + row)
        tl.store(lse_ptr + rows + row, b_lse)
    if TERMS > 2:
        _, c_lse = row_lse(c_ptr, n, TILE)
        c_weight = tl.load(weight_ptr + 2 * rows + row)
        tl.store(lse_ptr + 2 * rows + row, c_lse)
    if TERMS > 3:
        _, d_lse = row_lse(d_ptr, n, TILE)
        d_weight = tl.load(weight_ptr + 3 * rows + row)
        tl.store(lse_ptr + 3 * rows + row, d_lse)
    least = top + cut
    m, total = float("-inf"), 0.0
    best, where, kept = float("-inf"), 0, 0
    for start in range(0, n, TILE):
        j = start + tl.arange(0, TILE)
        f, plausible = tile_contrast(
            a_ptr, b_ptr, c_ptr, d_ptr, plus_ptr, a_lse, b_lse, c_lse, d_lse, a_weight, b_weight, c_weight, d_weight,
            j, n, least, TERMS, PLUS,
        )  # fmt: skip
        seen = tl.where(plausible, f, float("-inf"))
        kept += tl.sum(plausible.to(tl.int32), 0)
        high, at = tl.max(seen, 0, return_indices=True)
        where = tl.where(high > best, start + at, where)
        best = tl.maximum(best, high)
        if NORMALISE:
            m, total = tile_lse(m, total, seen if FIRST else tl.where(j < n, f, float("-inf")))
    norm = 0.0
    if NORMALISE:
        norm = m + tl.log(total)
    tl.store(norm_ptr + row, norm)
    tl.store(kept_ptr + row, kept)
    tl.store(best_ptr + row, where)
    if WHOLE:
        for start in range(0, n, TILE):
            j = start + tl.arange(0, TILE)
            f, plausible = tile_contrast(
                a_ptr, b_ptr, c_ptr, d_ptr, plus_ptr, a_lse, b_lse, c_lse, d_lse,
                a_weight, b_weight, c_weight, d_weight, j, n, least, TERMS, PLUS,
            )  # fmt: skip
            tl.store(out_ptr + row * n + j, tl.where(plausible, f - norm, floor), mask=j < n)
    if IDS:
        for start in range(0, n_ids, 16):
            k = start + tl.arange(0, 16)
            j = tl.load(id_ptr + row * n_ids + k, mask=k < n_ids, other=0)
            f, plausible = tile_contrast(
                a_ptr, b_ptr, c_ptr, d_ptr, plus_ptr, a_lse, b_lse, c_lse, d_lse,
                a_weight, b_weight, c_weight, d_weight, j, n, least, TERMS, PLUS,
            )  # fmt: skip
            tl.store(at_ptr + row * n_ids + k, tl.where(plausible, f - norm, floor), mask=k < n_ids)


@triton.jit
def tile_contrast(  # type: ignore[no-untyped-def]
    a_ptr, b_ptr, c_ptr, d_ptr, plus_ptr, a_lse, b_lse, c_lse, d_lse, a_weight, b_weight, c_weight, d_weight,
    j, n, least, TERMS: tl.constexpr, PLUS: tl.constexpr,
):  # fmt: skip
    """F of tokens j, and which of them are plausible; a term of weight 0 is left out."""
    inside = j < n
    a = tl.load(a_ptr + j, mask=inside, other=float("-inf")).to(tl.float32)
    f = tl.where(a_weight == 0, 0.0, a_weight * (a - a_lse))
    if TERMS > 1:
        b = tl.load(b_ptr + j, mask=inside, other=0.0).to(tl.float32)
        f += tl.where(b_weight == 0, 0.0, b_weight * (b - b_lse))
    if TERMS > 2:
        c = tl.load(c_ptr + j, mask=inside, other=0.0).to(tl.float32)
        f += tl.where(c_weight == 0, 0.0, c_weight * (c - c_lse))
    if TERMS > 3:
        d = tl.load(d_ptr + j, mask=inside, other=0.0).to(tl.float32)
        f += tl.where(d_weight == 0, 0.0, d_weight * (d - d_lse))
    if PLUS:
        f += tl.load(plus_ptr + j, mask=inside, other=0.0).to(tl.float32)
    return f, inside & (a >= least)


@triton.jit
def distance_kernel(first_ptr, said_ptr, first_lse_ptr, found_ptr, first_row, said_row, n, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """found `[4, row]`: Jensen–Shannon, as released, KL(first‖other), and the log of the normaliser."""
    row = tl.program_id(0).to(tl.int64)
    rows = tl.num_programs(0)
    first_ptr += row * first_row
    said_ptr += row * said_row
    first_lse = tl.load(first_lse_ptr + row)
    _, lse = row_lse(said_ptr, n, TILE)
    js, released, kl = 0.0, 0.0, 0.0
    for start in range(0, n, TILE):
        j = start + tl.arange(0, TILE)
        inside = j < n
        log_p = tl.load(first_ptr + j, mask=inside, other=0.0).to(tl.float32) - first_lse
        log_q = tl.load(said_ptr + j, mask=inside, other=0.0).to(tl.float32) - lse
        p, q = tl.exp(log_p), tl.exp(log_q)
        m = 0.5 * (p + q)
        log_m = tl.log(tl.where(m > 0, m, 1.0))
        js += 0.5 * tl.sum(tl.where(inside, p * (log_p - log_m) + q * (log_q - log_m), 0.0), 0)
        released += 0.5 * tl.sum(tl.where(inside, m * (2 * log_m - log_p - log_q), 0.0), 0)
        kl += tl.sum(tl.where(inside, p * (log_p - log_q), 0.0), 0)
    tl.store(found_ptr + row, js)
    tl.store(found_ptr + rows + row, released / n)
    tl.store(found_ptr + 2 * rows + row, kl)
    tl.store(found_ptr + 3 * rows + row, lse)


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
    _check(terms[0])
    rows, vocabulary = terms[0].shape
    device = terms[0].device
    terms = [_unit_stride(term) for term in terms]

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(*shape, dtype=dtype, device=device)

    lse, norm, kept, best = empty(len(terms), rows), empty(rows), *(empty(rows, dtype=torch.int32) for _ in range(2))
    at = empty(*ids.shape) if ids is not None else norm
    made = empty(rows, vocabulary) if whole else norm
    four = [*terms, *[terms[0]] * (4 - len(terms))]
    added = terms[0] if plus is None else _unit_stride(plus)
    wanted = ids.to(torch.int32).contiguous() if ids is not None else kept
    if rows:
        contrast_kernel[(rows,)](
            *four, added, weights, wanted, lse, norm, kept, best, at, made,
            *(term.stride(0) for term in (*four, added)),
            vocabulary, 0 if ids is None else ids.shape[1], max(cut, -1e30), floor,
            TERMS=len(terms), PLUS=plus is not None, NORMALISE=normalise, FIRST=mask_first, IDS=ids is not None,
            WHOLE=whole,
            TILE=TILE, num_warps=WARPS,
        )  # fmt: skip
    return ContrastScores(
        lse=lse,
        norm=norm,
        kept=kept.to(torch.int64),
        best=best.to(torch.int64),
        at=None if ids is None else at,
        scores=made if whole else None,
    )


def hold(first: Tensor) -> tuple[Tensor, Tensor]:
    """What of the first logits `[row, vocabulary]` every layer is held against."""
    _check(first)
    return _unit_stride(first), first.float().logsumexp(-1)


def distances(held: tuple[Tensor, Tensor], said: Tensor) -> Tensor:
    """`[4, row]`: Jensen–Shannon, as released, KL(first‖other), and the log of the normaliser."""
    first, lse = held
    said = _unit_stride(said)
    found = torch.empty(4, len(said), dtype=torch.float32, device=said.device)
    distance_kernel[(len(said),)](
        first, said, lse, found, first.stride(0), said.stride(0), said.shape[1], TILE=TILE, num_warps=WARPS
    )
    return found


def _check(logits: Tensor) -> None:
    if not interpreted() and not logits.is_cuda:
        raise RuntimeError(f'backend "triton" needs a CUDA device, the logits are on {logits.device}; take "cpu"')


def _unit_stride(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(1) == 1 else tensor.contiguous()
