"""What the Triton kernels share: loading rows, and scores of one tile in units of log 2."""

import triton
import triton.language as tl


@triton.jit
def load_rows(base, stride, rows, n_rows, D: tl.constexpr, D_PAD: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows of a `[row, d]` matrix, zero beyond its edges."""
    d = tl.arange(0, D_PAD)
    inside = (rows < n_rows)[:, None]
    if D_PAD != D:
        inside = inside & (d < D)[None, :]
    return tl.load(base + rows[:, None] * stride + d[None, :], mask=inside, other=0.0)


@triton.jit
def capped(s, cap):  # type: ignore[no-untyped-def]
    """cap * tanh(s / cap)."""
    x = s / cap
    z = x * x
    small = x * (1 - z * (1 / 3 - z * (2 / 15 - z * (17 / 315))))
    y = tl.exp2(-2.8853900817779268 * tl.abs(x))
    large = (1 - y) / (1 + y)
    return cap * tl.where(z < 0.01, small, tl.where(x < 0, -large, large))


@triton.jit
def whole_tiles(first, shift, n_key, lag, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, KEYS: tl.constexpr):  # type: ignore[no-untyped-def]
    """How many leading key tiles every row from `first` on sees in full, but for masks by key; 0 with a window."""
    whole = n_key
    if CAUSAL:
        whole = tl.maximum(tl.minimum(n_key, first + shift + 1 - lag), 0)
    if WINDOW:
        whole = 0
    return whole // KEYS


@triton.jit
def tile_scores(  # type: ignore[no-untyped-def]
    q, k, i, j, n_key, mask_row, window, sink_end, scale, cap, lag, row_class, class_row, sees_ptr, classes,
    WHOLE: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, MASK: tl.constexpr, CAP: tl.constexpr,
    BLOCKS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Scores `[query, key]`, -inf where hidden; keys before sink_end are exempt from the window.

    WHOLE: the tile is one of `whole_tiles`, of which only `key_mask` and the block mask can hide keys. BLOCKS: rows of
    the classes row_class see keys of the classes in class_row where `sees` `[query class, key class]` says so.
    """
    s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    if CAP:
        s = capped(s, cap)
    if MASK:
        real = tl.load(mask_row + j, mask=j < n_key, other=0) != 0
        s = tl.where(real[None, :], s, float("-inf"))
    if BLOCKS:
        key_class = tl.load(class_row + j, mask=j < n_key, other=0)
        met = tl.load(sees_ptr + row_class[:, None] * classes + key_class[None, :]) != 0
        s = tl.where(met, s, float("-inf"))
    if not WHOLE:
        gap = i[:, None] - j[None, :]
        seen = (j < n_key)[None, :]
        if CAUSAL:
            seen = seen & (gap >= lag)
        if WINDOW:
            seen = seen & ((tl.abs(gap) < window) | (j < sink_end)[None, :])
        s = tl.where(seen, s, float("-inf"))
    return s
