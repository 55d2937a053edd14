"""Triton: attention that each key receives, once every row's lse is known; a program owns its keys, so no atomics."""

import triton
import triton.language as tl

from .triton_tiles import load_rows, tile_scores


@triton.jit
def columns_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, columns_ptr, weight_ptr, lse_ptr, mask_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, weight_batch,
    heads, n_query, n_key, shift, scale, cap, window,
    GROUP: tl.constexpr, D: tl.constexpr, D_PAD: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    MASK: tl.constexpr, CAP: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """columns `[batch * head, key]` of rows weighted by `[batch or 1, query]`."""
    bh = tl.program_id(1)
    b, h = (bh // heads).to(tl.int64), (bh % heads).to(tl.int64)
    first = tl.program_id(0) * KEYS
    j = first + tl.arange(0, KEYS)
    k = load_rows(k_ptr + b * k_batch + (h // GROUP) * k_head, k_row, j, n_key, D, D_PAD)
    q_base = q_ptr + b * q_batch + h * q_head
    low, high = 0, n_query
    if CAUSAL:
        low = tl.maximum(first - shift, 0) // ROWS
    if WINDOW:
        if not CAUSAL:
            low = tl.maximum(first - window + 1 - shift, 0) // ROWS
        high = tl.minimum(n_query, tl.minimum(first + KEYS, n_key) - 1 + window - shift)
    received = tl.zeros([KEYS], tl.float32)
    for tile in range(low, tl.cdiv(tl.maximum(high, 0), ROWS)):
        rows = tile * ROWS + tl.arange(0, ROWS)
        q = load_rows(q_base, q_row, rows, n_query, D, D_PAD)
        s = tile_scores(
            q,
            k,
            rows + shift,
            j,
            n_key,
            mask_ptr + b * n_key,
            window,
            -1,
            scale,
            cap,
            CAUSAL,
            WINDOW,
            MASK,
            CAP,
            PRECISION,
        )
        lse = tl.load(lse_ptr + bh.to(tl.int64) * n_query + rows, mask=rows < n_query, other=float("-inf"))
        base = tl.where(lse == float("-inf"), float("inf"), lse * 1.4426950408889634)
        weight = tl.load(weight_ptr + b * weight_batch + rows, mask=rows < n_query, other=0.0)
        received += tl.sum(tl.exp2(s - base[:, None]) * weight[:, None], 0)
    tl.store(columns_ptr + bh.to(tl.int64) * n_key + j, received, mask=j < n_key)
