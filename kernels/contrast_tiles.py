"""The inner loops over rows of logits, compiled by numba: sums in float32 along a tile, in float64 between tiles."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .cpu_tiles import exp2, larger
from .jit import compiled

F = np.float32
LOG2E, LN2 = F(1.4426950408889634), 0.6931471805599453
TILE = 2048
TINY = F(1.2e-38)
"""The smallest normal number: below, a probability has no logarithm here, and counts for nothing."""


@intrinsic
def _bits(_: Any, number: Any) -> Any:
    def generate(__: Any, builder: Any, ___: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _float(_: Any, bits: Any) -> Any:
    def generate(__: Any, builder: Any, ___: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


# polynomial of log2(1 + t) / t at Chebyshev's points from √½ - 1 to √2 - 1, 9e-8 absolute before rounding
L0, L1, L2, L3 = F(1.442694957995559), F(-0.7213527587652898), F(0.4809240385776404), F(-0.36024198590679046)
L4, L5, L6, L7 = F(0.28707561115562313), F(-0.24882180563303963), F(0.23420985117976417), F(-0.1462035342150509)


@compiled(inline="always")
def log2(x):  # type: ignore[no-untyped-def]
    """log2 of a normal number, to 2e-7 absolute near 1 and relative elsewhere."""
    # numba widens whole numbers to 64 bits at every step, which the compiler would not vectorise
    bits = np.int32(_bits(x) - np.int32(0x3F3504F3))  # mantissas from √½ to √2
    exponent = np.int32(bits >> np.int32(23))
    t = _float(np.int32(np.int32(bits & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3))) - F(1)
    series = ((((((L7 * t + L6) * t + L5) * t + L4) * t + L3) * t + L2) * t + L1) * t + L0
    return F(exponent) + t * series


@compiled("void(float32[:,::1], float64[::1], float32[::1])")
def lse_rows(x, lse, tops):  # type: ignore[no-untyped-def]
    """The log of the sum of exponentials of each row, and its maximum."""
    for r in range(x.shape[0]):
        row = x[r]
        top = F(-np.inf)
        for j in range(row.size):
            top = larger(top, row[j])
        base = top if top > F(-np.inf) else F(0)
        total = 0.0
        for start in range(0, row.size, TILE):
            tile = row[start : start + TILE]
            here = F(0)
            for j in range(tile.size):
                here += exp2((tile[j] - base) * LOG2E)
            total += here
        lse[r] = base + np.log(total)
        tops[r] = top


@compiled("void(float32[:,::1], float32[::1], float64[::1], float32[:,::1])")
def add_term(x, weights, lse, total):  # type: ignore[no-untyped-def]
    """Add weight · log-softmax of each row; a row of weight 0 is left as it was."""
    for r in range(x.shape[0]):
        weight, offset = weights[r], F(lse[r])
        if weight != F(0):
            row, out = x[r], total[r]
            for j in range(row.size):
                out[j] += weight * (row[j] - offset)


@compiled("void(float32[:,::1], float32[:,::1], float32[:,::1], float64[::1], float64[:,::1])")
def distance_rows(log, p, x, lse, sums):  # type: ignore[no-untyped-def]
    """sums `[row, 4]`: Σ p log q, Σ q log p, Σ q log q and Σ m log m, q the softmax of x and m the mean of p and q."""
    for r in range(x.shape[0]):
        offset = F(lse[r])
        row, row_p, row_log = x[r], p[r], log[r]
        cross, back, own, mixed = 0.0, 0.0, 0.0, 0.0
        for start in range(0, row.size, TILE):
            tile, tile_p = row[start : start + TILE], row_p[start : start + TILE]
            tile_log = row_log[start : start + TILE]
            one, two, three, four = F(0), F(0), F(0), F(0)
            for j in range(tile.size):
                log_q = tile[j] - offset
                q = exp2(log_q * LOG2E)
                one += tile_p[j] * log_q
                two += q * tile_log[j]
                three += q * log_q
                m = F(0.5) * (tile_p[j] + q)
                four += m * log2(max(m, TINY))
            cross += one
            back += two
            own += three
            mixed += four
        sums[r, 0], sums[r, 1], sums[r, 2], sums[r, 3] = cross, back, own, mixed * LN2
