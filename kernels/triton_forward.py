"""Triton: the output of attention and each row's lse, with a sink and a window for every kv head."""

import triton
import triton.language as tl

from .triton_tiles import load_rows, tile_scores, whole_tiles


@triton.jit
def forward_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, sink_end_ptr, window_ptr, mask_ptr, slot_ptr,
    row_class_ptr, key_class_ptr, sees_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    heads, n_query, n_key, shift, scale, cap, lag, classes,
    GROUP: tl.constexpr, D: tl.constexpr, D_PAD: tl.constexpr, DV: tl.constexpr, DV_PAD: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, MASK: tl.constexpr, CAP: tl.constexpr, SLOT: tl.constexpr,
    BLOCKS: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """out `[batch * head, query, d_value]`, lse (natural) `[batch * head, query]`; positions from the first key on."""
    bh = tl.program_id(1)
    b, h = (bh // heads).to(tl.int64), (bh % heads).to(tl.int64)
    kv = h // GROUP
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * ROWS  # the longest rows first
    rows = first + tl.arange(0, ROWS)
    last = tl.minimum(first + ROWS, n_query) - 1
    i = rows + shift
    q = load_rows(q_ptr + b * q_batch + h * q_head, q_row, rows, n_query, D, D_PAD)
    k_base, v_base = k_ptr + b * k_batch + kv * k_head, v_ptr + b * v_batch + kv * v_head
    mask_row, class_row = mask_ptr + b * n_key, key_class_ptr + b * n_key
    row_class = rows
    if BLOCKS:
        row_class = tl.load(row_class_ptr + b * n_query + rows, mask=rows < n_query, other=0)
    # key tiles of the sinks, then those from the window's first to the last visible key
    low, high, sink_end, window = 0, n_key, 0, 0
    if CAUSAL:
        high = tl.minimum(n_key, last + shift + 1 - lag)
    if WINDOW:
        window = tl.load(window_ptr + kv)
        sink_end = tl.load(sink_end_ptr + b * (heads // GROUP) + kv)
        low = tl.maximum(first + shift - window + 1, 0) // KEYS
        if not CAUSAL:
            high = tl.minimum(n_key, last + shift + window)
    tiles = tl.cdiv(tl.maximum(high, 0), KEYS)
    sinks = tl.minimum(tl.minimum(tl.cdiv(tl.maximum(sink_end, 0), KEYS), low), tiles)
    m = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    if SLOT:  # a learned sink is a key without a value that was already seen
        m = tl.load(slot_ptr + h) + tl.zeros([ROWS], tl.float32)
        total += 1.0
    out = tl.zeros([ROWS, DV_PAD], tl.float32)
    whole = whole_tiles(first, shift, n_key, lag, CAUSAL, WINDOW, KEYS)
    for tile in range(whole):
        m, total, out = add_tile(
            m, total, out, q, k_base, v_base, k_row, v_row, mask_row, tile, i, n_key, window, sink_end, scale, cap,
            lag, row_class, class_row, sees_ptr, classes,
            True, CAUSAL, WINDOW, MASK, CAP, BLOCKS, PRECISION, D, D_PAD, DV, DV_PAD, KEYS,
        )  # fmt: skip
    for step in range(whole, sinks + tl.maximum(tiles - low, 0)):
        tile = tl.where(step < sinks, step, low + step - sinks)
        m, total, out = add_tile(
            m, total, out, q, k_base, v_base, k_row, v_row, mask_row, tile, i, n_key, window, sink_end, scale, cap,
            lag, row_class, class_row, sees_ptr, classes,
            False, CAUSAL, WINDOW, MASK, CAP, BLOCKS, PRECISION, D, D_PAD, DV, DV_PAD, KEYS,
        )  # fmt: skip
    share = tl.where(total > 0, 1.0 / tl.where(total > 0, total, 1.0), 0.0)
    d = tl.arange(0, DV_PAD)
    at = bh.to(tl.int64) * n_query + rows
    inside = rows < n_query
    tl.store(
        out_ptr + at[:, None] * DV + d[None, :],
        (out * share[:, None]).to(out_ptr.dtype.element_ty),
        mask=inside[:, None] & (d < DV)[None, :],
    )
    lse = tl.where(total > 0, m + tl.log2(tl.where(total > 0, total, 1.0)), float("-inf"))
    tl.store(lse_ptr + at, lse * 0.6931471805599453, mask=inside)


@triton.jit
def add_tile(  # type: ignore[no-untyped-def]
    m, total, out, q, k_base, v_base, k_row, v_row, mask_row, tile, i, n_key, window, sink_end, scale, cap,
    lag, row_class, class_row, sees_ptr, classes,
    WHOLE: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, MASK: tl.constexpr, CAP: tl.constexpr,
    BLOCKS: tl.constexpr, PRECISION: tl.constexpr, D: tl.constexpr, D_PAD: tl.constexpr, DV: tl.constexpr,
    DV_PAD: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Each row's maximum, sum of weights and weighted values with one more tile of keys."""
    j = tile * KEYS + tl.arange(0, KEYS)
    k = load_rows(k_base, k_row, j, n_key, D, D_PAD)
    s = tile_scores(
        q, k, i, j, n_key, mask_row, window, sink_end, scale, cap, lag, row_class, class_row, sees_ptr, classes,
        WHOLE, CAUSAL, WINDOW, MASK, CAP, BLOCKS, PRECISION,
    )  # fmt: skip
    top = tl.maximum(m, tl.max(s, 1))
    base = tl.where(top == float("-inf"), 0.0, top)
    shrink = tl.exp2(m - base)
    p = tl.exp2(s - base[:, None])
    v = load_rows(v_base, v_row, j, n_key, DV, DV_PAD)
    out = tl.dot(p.to(v.dtype), v, out * shrink[:, None], input_precision=PRECISION)
    return top, total * shrink + tl.sum(p, 1), out
