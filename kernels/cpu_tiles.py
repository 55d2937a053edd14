"""The inner loops over one tile of scores, compiled by numba on the user's machine when first used.

Scores come in units of log 2 (the caller scales q by log2 e), so that exp2 needs no multiplication. Sums run in float32
along a tile's row, which the compiler vectorises, and in float64 from tile to tile.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .jit import compiled
from .result import SCALARS

# `finish_rows` writes them by these numbers
assert SCALARS == ("lse", "entropy", "max_weight", "distance", "sink_mass", "recent_mass", "far_mass")

# columns of a row's state
M, BEST, WHERE, TOTAL, SHIFTED, DISTANCE, SINK, RECENT, FAR = range(9)
STATE = 9

LN2 = 0.6931471805599453
F = np.float32
# minimax polynomial of 2**x on [-1/2, 1/2], relative error 1.5e-8 before rounding
P1, P2, P3 = F(0.6931471805599453), F(0.2402265069591007), F(0.0555041086648216)
P4, P5, P6 = F(0.009618129107628477), F(0.0013333558146428443), F(0.00015403530393381608)


@intrinsic
def _float_from_bits(_: Any, bits: Any) -> Any:
    def generate(__: Any, builder: Any, ___: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def larger(_: Any, a: Any, b: Any) -> Any:
    """The larger of two floats, in the one form that LLVM turns into a vectorised maximum over a row."""

    def generate(__: Any, builder: Any, ___: Any, args: Any) -> Any:
        single = ir.FloatType()
        maximum = builder.module.declare_intrinsic("llvm.maxnum", [single], ir.FunctionType(single, [single, single]))
        return builder.call(maximum, args, fastmath=("nnan", "nsz"))

    return types.float32(types.float32, types.float32), generate


@compiled(inline="always")
def exp2(t):  # type: ignore[no-untyped-def]
    """2**t to 2.2e-7 relative; exactly 0 below the normal numbers, so that hidden keys weigh nothing."""
    t = min(max(t, F(-149.0)), F(128.0))
    n = np.int32(t + F(150.5)) - np.int32(150)
    x = t - F(n)
    y = ((((P6 * x + P5) * x + P4) * x + P3) * x + P2) * x + P1
    exponent = max(n, np.int32(-127)) + np.int32(127)
    return (y * x + F(1.0)) * _float_from_bits(np.int32(exponent << np.int32(23)))


@compiled("void(float32[:,::1], float32)")
def cap_tile(s, cap):  # type: ignore[no-untyped-def]
    """cap * tanh(s / cap), in place."""
    for r in range(s.shape[0]):
        row = s[r]
        for j in range(row.size):
            x = row[j] / cap
            z = x * x
            small = x * (F(1) - z * (F(1 / 3) - z * (F(2 / 15) - z * F(17 / 315))))
            y = exp2(F(-2.8853900817779268) * abs(x))  # e**(-2|x|)
            large = (F(1) - y) / (F(1) + y)
            large = -large if x < 0 else large
            row[j] = cap * (small if z < F(0.01) else large)


@compiled("void(float32[:,::1], boolean[::1])")
def hide_columns(s, hidden):  # type: ignore[no-untyped-def]
    """Scores of padding become -inf, in place."""
    for r in range(s.shape[0]):
        for j in range(s.shape[1]):
            if hidden[j]:
                s[r, j] = F(-np.inf)


@compiled("void(float32[:,::1], int32[::1], int64[:,::1], boolean[:,::1])")
def hide_classes(s, rows, runs, sees):  # type: ignore[no-untyped-def]
    """Scores of keys whose class a row's class does not see become -inf, in place.

    rows: the class of each row of a head. runs: [start, end, class] within the tile, which may have more keys than s.
    """
    for r in range(s.shape[0]):
        of_row = sees[rows[r % rows.size]]
        for c in range(runs.shape[0]):
            if not of_row[runs[c, 2]]:
                for j in range(runs[c, 0], min(runs[c, 1], s.shape[1])):
                    s[r, j] = F(-np.inf)


@compiled(inline="always")
def _span(i, block, n):  # type: ignore[no-untyped-def]
    """The columns [a, b) of a tile of n keys that the query at position i sees."""
    j0, causal, window, low, high, lag = block[1], block[2], block[3], block[4], block[5], block[9]
    a = max(low, i - window + 1) - j0
    b = min(high, i + 1 - lag if causal else i + window) - j0
    a = min(max(a, 0), n)
    return a, max(a, min(b, n))


@compiled(inline="always")
def _sum(row, a, b):  # type: ignore[no-untyped-def]
    part, total = row[a : max(a, b)], F(0)
    for j in range(part.size):
        total += part[j]
    return total


@compiled("void(float32[:,::1], int64[::1], int64, float64[:,::1])")
def weigh_tile(s, block, first, state):  # type: ignore[no-untyped-def]
    """Scores become weights exp2(s - m), in place; m is each row's final lse."""
    n = s.shape[1]
    for r in range(s.shape[0]):
        row = s[r]
        m = F(state[r, M])
        a, b = _span(first + r % block[0], block, n)
        if m == F(-np.inf):
            b = a
        row[:a] = F(0)
        row[b:] = F(0)
        seen = row[a:b]
        for j in range(seen.size):
            seen[j] = exp2(seen[j] - m)


@compiled(
    "void(float32[:,::1], int64[::1], int64, boolean, int64[:,::1], float64[:,::1], float64[:,::1], float32[:,::1])"
)
def add_tile(s, block, first, fixed, runs, state, mass, out):  # type: ignore[no-untyped-def]
    """Add one tile of keys to every row's statistics; scores become weights exp2(s - m), in place.

    block: rows a head, position of the tile's first key, causal, window, first and end position of visible keys,
    first and end position of sinks, recent, lag. runs: [start, end, segment] within the tile. With `fixed`, m is the
    final lse; otherwise it is the running maximum, and earlier sums, masses and outputs are rescaled when it grows.
    """
    n = s.shape[1]
    j0, sink_low, sink_high, recent = block[1], block[6], block[7], block[8]
    for r in range(s.shape[0]):
        row, at, i = s[r], state[r], first + r % block[0]
        a, b = _span(i, block, n)
        row[:a] = F(0)
        row[b:] = F(0)
        seen = row[a:b]  # a slice of its own: indices from 0 are what the compiler can vectorise
        top = F(-np.inf)
        for j in range(seen.size):
            top = larger(top, seen[j])
        if top == F(-np.inf) or (fixed and at[M] == -np.inf):
            seen[:] = F(0)
            continue
        if top > at[BEST]:
            at[BEST] = top
            for j in range(seen.size):
                if seen[j] == top:
                    at[WHERE] = j0 + a + j
                    break
        if not fixed and top > at[M]:
            shrink = 0.0
            if at[M] > -np.inf:
                shrink = 2.0 ** (at[M] - top)
                at[SHIFTED] += at[TOTAL] * (at[M] - top)
            at[M] = top
            for c in range(TOTAL, STATE):
                at[c] *= shrink
            for c in range(mass.shape[1]):
                mass[r, c] *= shrink
            for c in range(out.shape[1]):
                out[r, c] *= F(shrink)
        m = F(at[M])
        total, shifted, distance = F(0), F(0), F(0)
        ahead = F(i - j0 - a)
        for j in range(seen.size):
            t = seen[j] - m
            p = exp2(t)
            seen[j] = p
            total += p
            shifted += p * max(t, F(-149.0))
            distance += p * abs(ahead - F(np.int32(j)))
        at[TOTAL] += total
        at[SHIFTED] += shifted
        at[DISTANCE] += distance
        # [sa, sb) are sinks, [ra, rb) are recent where no sink
        sa, sb = min(max(sink_low - j0, a), b), min(max(sink_high - j0, a), b)
        ra, rb = min(max(i - recent + 1 - j0, a), b), min(max(i + recent - j0, a), b)
        if sa == sb and ra == rb:
            at[FAR] += total
        elif sa == sb and ra == a and rb == b:
            at[RECENT] += total
        else:
            sinks = _sum(row, sa, sb)
            near = _sum(row, ra, min(rb, max(ra, sa))) + _sum(row, max(ra, min(rb, sb)), rb)
            at[SINK] += sinks
            at[RECENT] += near
            at[FAR] += max(total - sinks - near, F(0))
        for c in range(runs.shape[0]):
            ga, gb = max(runs[c, 0], a), min(runs[c, 1], b)
            mass[r, runs[c, 2]] += total if ga == a and gb == b else _sum(row, ga, gb)


def log_totals(state: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's lse in units of log 2 so far, `[row]`; -inf where it saw no key."""
    with np.errstate(divide="ignore"):
        return state[:, M] + np.log2(state[:, TOTAL])


@compiled("void(float64[:,::1], float64[:,::1], boolean, float32[:,:,:], int64[:,:], float32[::1])")
def finish_rows(state, mass, fixed, scalars, where, share):  # type: ignore[no-untyped-def]
    """Turn the sums of a block into statistics.

    scalars: [statistic, head, row], in the order of `result.SCALARS`; where: [head, row]; share: [row], the factor
    that turns sums into means.
    """
    n = where.shape[1]
    for r in range(state.shape[0]):
        at, h, i = state[r], r // n, r % n
        factor, log_total, lse2 = 1.0, 0.0, at[M]
        if not fixed:
            factor = 1.0 / at[TOTAL] if at[TOTAL] > 0 else 0.0
            log_total = np.log(at[TOTAL]) if at[TOTAL] > 0 else 0.0
            lse2 = at[M] + log_total / LN2
        share[r] = factor
        where[h, i] = np.int64(at[WHERE])
        scalars[0, h, i] = lse2 * LN2
        scalars[1, h, i] = max(log_total - LN2 * at[SHIFTED] * factor, 0.0)
        scalars[2, h, i] = 2.0 ** (at[BEST] - lse2) if at[BEST] > -np.inf else 0.0
        scalars[3, h, i] = at[DISTANCE] * factor
        scalars[4, h, i] = at[SINK] * factor
        scalars[5, h, i] = at[RECENT] * factor
        scalars[6, h, i] = at[FAR] * factor
        for c in range(mass.shape[1]):
            mass[r, c] *= factor
