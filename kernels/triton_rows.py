"""Triton: statistics of every row, in one pass over its keys."""

import triton
import triton.language as tl

from .result import SCALARS
from .triton_tiles import load_rows, tile_scores, whole_tiles

# `rows_kernel` writes them by these numbers
assert SCALARS == ("lse", "entropy", "max_weight", "distance", "sink_mass", "recent_mass", "far_mass")


@triton.jit
def rows_kernel(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, scalars_ptr, argmax_ptr, mass_ptr, lse_ptr, sink_start_ptr, mask_ptr, slot_ptr, segment_ptr, only_ptr,
    row_class_ptr, key_class_ptr, sees_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row,
    heads, n_query, n_key, shift, scale, cap, lag, classes, window, sink, recent, n_segments, segment_from, stride_stat,
    GROUP: tl.constexpr, D: tl.constexpr, D_PAD: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    MASK: tl.constexpr, CAP: tl.constexpr, SLOT: tl.constexpr, FIXED: tl.constexpr, SEGMENTS: tl.constexpr,
    BLOCKS: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """scalars `[7, batch * head, query]` in the order of `result.SCALARS`, argmax counted from the first key.

    FIXED: lse is given and weights are exp(score - lse); otherwise sums are rescaled as the maximum grows.
    SEGMENTS: how many segments from segment_from on get their mass `[batch * head, query, segment]`; 0 for none.
    only `[batch, key tile]`: the one segment of all keys of a tile, or -2 where there are several.
    """
    bh = tl.program_id(1)
    b, h = (bh // heads).to(tl.int64), (bh % heads).to(tl.int64)
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * ROWS
    rows = first + tl.arange(0, ROWS)
    last = tl.minimum(first + ROWS, n_query) - 1
    i = rows + shift
    inside = rows < n_query
    at = bh.to(tl.int64) * n_query + rows
    q = load_rows(q_ptr + b * q_batch + h * q_head, q_row, rows, n_query, D, D_PAD)
    k_base = k_ptr + b * k_batch + (h // GROUP) * k_head
    mask_row, segment_row, only_row = mask_ptr + b * n_key, segment_ptr + b * n_key, only_ptr + b * tl.cdiv(n_key, KEYS)
    class_row, row_class = key_class_ptr + b * n_key, rows
    if BLOCKS:
        row_class = tl.load(row_class_ptr + b * n_query + rows, mask=inside, other=0)
    sink_low = tl.load(sink_start_ptr + b)
    low, high = 0, n_key
    if CAUSAL:
        high = tl.minimum(n_key, last + shift + 1 - lag)
    if WINDOW:
        low = tl.maximum(first + shift - window + 1, 0) // KEYS
        high = tl.minimum(high, last + shift + window)
    tiles = tl.cdiv(tl.maximum(high, 0), KEYS)
    # far: tiles that hold no sink and nothing recent, and that every row sees in full; they need less
    far_from = tl.minimum(tl.maximum(tl.cdiv(tl.maximum(sink_low + sink, 0), KEYS), low), tiles)
    far_to = far_from
    if CAUSAL and not BLOCKS:  # a second loop would not leave a block mask enough registers
        far_to = tl.maximum(tl.minimum(n_key, first + shift + 1 - recent), 0) // KEYS
        far_to = tl.maximum(tl.minimum(far_to, whole_tiles(first, shift, n_key, lag, CAUSAL, WINDOW, KEYS)), far_from)
    m = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    shifted = tl.zeros([ROWS], tl.float32)
    if FIXED:
        m = tl.load(lse_ptr + at, mask=inside, other=float("-inf")) * 1.4426950408889634
    if SLOT:
        slot = tl.load(slot_ptr + h) + tl.zeros([ROWS], tl.float32)
        if FIXED:
            shifted = tl.where(m > float("-inf"), tl.exp2(slot - m) * (slot - m), 0.0)
        else:
            m = slot
            total += 1.0
    best = tl.full([ROWS], float("-inf"), tl.float32)
    where = tl.full([ROWS], -1, tl.int32)
    distance = tl.zeros([ROWS], tl.float32)
    sinks = tl.zeros([ROWS], tl.float32)
    near = tl.zeros([ROWS], tl.float32)
    far = tl.zeros([ROWS], tl.float32)
    mass = tl.zeros([ROWS, SEGMENTS if SEGMENTS > 0 else 1], tl.float32)
    for tile in range(far_from, far_to):
        m, total, shifted, best, where, distance, sinks, near, far, mass = add_tile(
            m, total, shifted, best, where, distance, sinks, near, far, mass,
            q, k_base, k_row, mask_row, segment_row, only_row, tile, i, n_key, window, scale, cap,
            sink_low, sink, recent, segment_from, lag, row_class, class_row, sees_ptr, classes,
            True, CAUSAL, WINDOW, MASK, CAP, FIXED, SEGMENTS, BLOCKS, PRECISION, D, D_PAD, KEYS,
        )  # fmt: skip
    for step in range(low, tiles - far_to + far_from):
        tile = tl.where(step < far_from, step, step - far_from + far_to)
        m, total, shifted, best, where, distance, sinks, near, far, mass = add_tile(
            m, total, shifted, best, where, distance, sinks, near, far, mass,
            q, k_base, k_row, mask_row, segment_row, only_row, tile, i, n_key, window, scale, cap,
            sink_low, sink, recent, segment_from, lag, row_class, class_row, sees_ptr, classes,
            False, CAUSAL, WINDOW, MASK, CAP, FIXED, SEGMENTS, BLOCKS, PRECISION, D, D_PAD, KEYS,
        )  # fmt: skip
    share = tl.full([ROWS], 1.0, tl.float32)
    log_total = tl.zeros([ROWS], tl.float32)
    if not FIXED:
        share = tl.where(total > 0, 1.0 / tl.where(total > 0, total, 1.0), 0.0)
        log_total = tl.log2(tl.where(total > 0, total, 1.0))
    lse = m + log_total
    weight = tl.where(best > float("-inf"), tl.exp2(best - tl.where(lse == float("-inf"), float("inf"), lse)), 0.0)
    where = tl.where(lse == float("-inf"), -1, where)
    ln2 = 0.6931471805599453
    tl.store(scalars_ptr + at, lse * ln2, mask=inside)
    tl.store(scalars_ptr + stride_stat + at, tl.maximum(ln2 * (log_total - shifted * share), 0.0), mask=inside)
    tl.store(scalars_ptr + 2 * stride_stat + at, weight, mask=inside)
    tl.store(scalars_ptr + 3 * stride_stat + at, distance * share, mask=inside)
    tl.store(scalars_ptr + 4 * stride_stat + at, sinks * share, mask=inside)
    tl.store(scalars_ptr + 5 * stride_stat + at, near * share, mask=inside)
    tl.store(scalars_ptr + 6 * stride_stat + at, far * share, mask=inside)
    tl.store(argmax_ptr + at, where, mask=inside)
    if SEGMENTS > 0:
        g = segment_from + tl.arange(0, SEGMENTS)
        tl.store(
            mass_ptr + at[:, None] * n_segments + g[None, :],
            mass * share[:, None],
            mask=inside[:, None] & (g < n_segments)[None, :],
        )


@triton.jit
def add_tile(  # type: ignore[no-untyped-def]
    m, total, shifted, best, where, distance, sinks, near, far, mass,
    q, k_base, k_row, mask_row, segment_row, only_row, tile, i, n_key, window, scale, cap,
    sink_low, sink, recent, segment_from, lag, row_class, class_row, sees_ptr, classes,
    FAR: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, MASK: tl.constexpr, CAP: tl.constexpr,
    FIXED: tl.constexpr, SEGMENTS: tl.constexpr, BLOCKS: tl.constexpr, PRECISION: tl.constexpr,
    D: tl.constexpr, D_PAD: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Each row's sums with one more tile of keys; FAR: every row sees it in full, and all of it is far."""
    j = tile * KEYS + tl.arange(0, KEYS)
    k = load_rows(k_base, k_row, j, n_key, D, D_PAD)
    s = tile_scores(
        q, k, i, j, n_key, mask_row, window, -1, scale, cap, lag, row_class, class_row, sees_ptr, classes,
        FAR, CAUSAL, WINDOW, MASK, CAP, BLOCKS, PRECISION,
    )  # fmt: skip
    top, top_at = tl.max(s, 1, return_indices=True)
    top_at += tile * KEYS
    first_of_equals = (top == best) & (top_at < where)  # tiles do not come in order
    where = tl.where((top > best) | first_of_equals, top_at, where)
    best = tl.maximum(best, top)
    if FIXED:
        base = tl.where(m == float("-inf"), float("inf"), m)  # a row without a normaliser has no weights
    else:
        top = tl.maximum(top, m)
        base = tl.where(top == float("-inf"), 0.0, top)
        shrink = tl.exp2(m - base)
        shifted = shrink * (shifted + total * tl.where(m == float("-inf"), 0.0, m - base))
        total *= shrink
        distance *= shrink
        sinks *= shrink
        near *= shrink
        far *= shrink
        if SEGMENTS > 0:
            mass *= shrink[:, None]
        m = top
    t = tl.maximum(s - base[:, None], -1000.0)  # finite, so that a hidden key's share 0 * t is 0
    p = tl.exp2(t)
    here = tl.sum(p, 1)
    total += here
    shifted += tl.sum(p * t, 1)
    if FAR:
        far += here
        # a row is this far from the tile's first key, less where in the tile each key is
        ahead = tl.sum(p * tl.arange(0, KEYS).to(tl.float32)[None, :], 1)
        distance += here * (i - tile * KEYS).to(tl.float32) - ahead
    else:
        gap = tl.abs(i[:, None] - j[None, :])
        is_sink = ((j >= sink_low) & (j < sink_low + sink))[None, :]
        is_near = (gap < recent) & (is_sink == 0)
        distance += tl.sum(p * gap, 1)
        sinks += tl.sum(tl.where(is_sink, p, 0.0), 1)
        near += tl.sum(tl.where(is_near, p, 0.0), 1)
        far += tl.sum(tl.where(is_near | is_sink, 0.0, p), 1)
    if SEGMENTS > 0:
        g = tl.arange(0, SEGMENTS)
        only = tl.load(only_row + tile)
        if only > -2:
            mass += tl.where((g == only - segment_from)[None, :], here[:, None], 0.0)
        else:
            ids = tl.load(segment_row + j, mask=j < n_key, other=-1) - segment_from
            member = (ids[:, None] == g[None, :]).to(tl.float16)
            # weights in two halves of 11 bits, lifted so that the low one is no subnormal: exact to 2**-22
            lifted = p * 32768.0
            high_half = lifted.to(tl.float16)
            parts = tl.dot(high_half, member)
            parts = tl.dot((lifted - high_half.to(tl.float32)).to(tl.float16), member, parts)
            mass += parts * (1.0 / 32768.0)
    return m, total, shifted, best, where, distance, sinks, near, far, mass
