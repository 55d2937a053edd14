"""Triton: attention that each key receives, once every row's lse is known; a program owns its keys, so no atomics."""

import triton
import triton.language as tl

from .triton_tiles import load_rows, tile_scores


@triton.jit
def columns_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, columns_ptr, weight_ptr, lse_ptr, mask_ptr, row_class_ptr, key_class_ptr, sees_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, weight_batch,
    heads, n_query, n_key, shift, scale, cap, lag, classes, window,
    GROUP: tl.constexpr, D: tl.constexpr, D_PAD: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    MASK: tl.constexpr, CAP: tl.constexpr, BLOCKS: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr,
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
        low = tl.maximum(first + lag - shift, 0) // ROWS
    if WINDOW:
        if not CAUSAL:
            low = tl.maximum(first - window + 1 - shift, 0) // ROWS
        high = tl.minimum(n_query, tl.minimum(first + KEYS, n_key) - 1 + window - shift)
    # from this tile of rows on, every row sees all of these keys
    whole = tl.cdiv(tl.maximum(high, 0), ROWS)
    if not WINDOW and CAUSAL:
        whole = tl.minimum(whole, tl.cdiv(tl.maximum(first + KEYS - 1 + lag - shift, 0), ROWS))
    received = tl.zeros([KEYS], tl.float32)
    lse_row, mask_row = lse_ptr + bh.to(tl.int64) * n_query, mask_ptr + b * n_key
    weight_row = weight_ptr + b * weight_batch
    row_class_row, class_row = row_class_ptr + b * n_query, key_class_ptr + b * n_key
    for tile in range(low, whole):
        received += from_rows(
            q_base, q_row, k, lse_row, weight_row, mask_row, tile, j, n_query, n_key, shift, window, scale, cap,
            lag, row_class_row, class_row, sees_ptr, classes,
            False, CAUSAL, WINDOW, MASK, CAP, BLOCKS, PRECISION, D, D_PAD, ROWS,
        )  # fmt: skip
    for tile in range(tl.maximum(low, whole), tl.cdiv(tl.maximum(high, 0), ROWS)):
        received += from_rows(
            q_base, q_row, k, lse_row, weight_row, mask_row, tile, j, n_query, n_key, shift, window, scale, cap,
            lag, row_class_row, class_row, sees_ptr, classes,
            True, CAUSAL, WINDOW, MASK, CAP, BLOCKS, PRECISION, D, D_PAD, ROWS,
        )  # fmt: skip
    tl.store(columns_ptr + bh.to(tl.int64) * n_key + j, received, mask=j < n_key)


@triton.jit
def from_rows(  # type: ignore[no-untyped-def]
    q_base, q_row, k, lse_row, weight_row, mask_row, tile, j, n_query, n_key, shift, window, scale, cap,
    lag, row_class_row, class_row, sees_ptr, classes,
    WHOLE: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, MASK: tl.constexpr, CAP: tl.constexpr,
    BLOCKS: tl.constexpr, PRECISION: tl.constexpr, D: tl.constexpr, D_PAD: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """What the keys receive from one tile of rows; WHOLE: but for masks by key, each of the rows sees all of them."""
    rows = tile * ROWS + tl.arange(0, ROWS)
    q = load_rows(q_base, q_row, rows, n_query, D, D_PAD)
    row_class = rows
    if BLOCKS:
        row_class = tl.load(row_class_row + rows, mask=rows < n_query, other=0)
    s = tile_scores(
        q, k, rows + shift, j, n_key, mask_row, window, -1, scale, cap, lag, row_class, class_row, sees_ptr, classes,
        WHOLE, CAUSAL, WINDOW, MASK, CAP, BLOCKS, PRECISION,
    )  # fmt: skip
    lse = tl.load(lse_row + rows, mask=rows < n_query, other=float("-inf"))
    base = tl.where(lse == float("-inf"), float("inf"), lse * 1.4426950408889634)
    weight = tl.load(weight_row + rows, mask=rows < n_query, other=0.0)
    return tl.sum(tl.exp2(s - base[:, None]) * weight[:, None], 0)
