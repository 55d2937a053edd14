"""Attention statistics on a GPU: the output from a plain pass, the statistics from one without values."""

import torch
from torch import Tensor

from .problem import Problem
from .result import SCALARS
from .triton_columns import columns_kernel
from .triton_forward import forward_kernel
from .triton_launch import (
    COLUMNS,
    FAR_AWAY,
    FORWARD,
    LOG2E,
    ROW_STATISTICS,
    check_can_run,
    classes,
    constants,
    numbers,
    or_dummy,
    sink_rows,
    strides,
    unit_stride,
    value_constants,
)
from .triton_rows import rows_kernel

SEGMENT_BLOCK = 32  # segments a launch; more would not fit the registers


def compute(problem: Problem) -> tuple[dict[str, Tensor], Tensor]:
    """Row statistics, output and attention received, and each row's lse."""
    check_can_run(problem)
    found: dict[str, Tensor] = {}
    lse = problem.lse
    if problem.v is not None:
        shape, device = problem.k.shape[:2], problem.q.device
        window = torch.full(shape[1:], problem.window or FAR_AWAY, dtype=torch.int32, device=device)
        nothing = torch.zeros(shape, dtype=torch.int32, device=device)
        found["out"], lse = attend(problem, nothing, window, problem.window is not None)
    if lse is None or problem.want - {"out", "lse"}:
        found |= _rows(problem, lse)
        lse = found["lse"] if lse is None else lse
    found["lse"] = lse
    if problem.received is not None:
        found["received"] = _columns(problem, lse)
    return {name: value for name, value in found.items() if name in problem.want or name == "received"}, lse


def attend(problem: Problem, sink_end: Tensor, window: Tensor, windowed: bool) -> tuple[Tensor, Tensor]:
    """Output `[batch, head, query, d_value]` and lse, over keys before `sink_end` or less than `window` tokens away.

    sink_end `[batch, kv_head]` and window `[kv_head]` are int32 and count from the first key; they are read only if
    `windowed`.
    """
    assert problem.v is not None
    q, k, v = unit_stride(problem.q), unit_stride(problem.k), unit_stride(problem.v)
    out = torch.empty(problem.out_shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    slot = None if problem.sink_logits is None else problem.sink_logits * LOG2E
    compiled = constants(problem, FORWARD) | value_constants(problem) | {"WINDOW": windowed}
    grid = (-(-q.shape[2] // compiled["ROWS"]), q.shape[0] * q.shape[1])
    forward_kernel[grid](
        q, k, v, out, lse, sink_end, window, or_dummy(problem.key_mask, lse), or_dummy(slot, lse),
        *classes(problem),
        *strides(q, k, v), *numbers(problem), SLOT=slot is not None, **compiled,
    )  # fmt: skip
    return out, lse


def _rows(problem: Problem, lse: Tensor | None) -> dict[str, Tensor]:
    q, k = unit_stride(problem.q), unit_stride(problem.k)
    rows, n_segments = q.shape[:3], problem.n_segments
    scalars = torch.empty(len(SCALARS), *rows, dtype=torch.float32, device=q.device)
    argmax = torch.empty(rows, dtype=torch.int32, device=q.device)
    mass = torch.empty(*rows, n_segments, dtype=torch.float32, device=q.device)
    slot = None if problem.sink_logits is None else problem.sink_logits * LOG2E
    compiled = constants(problem, ROW_STATISTICS)
    only = None if problem.segments is None else only_segment(problem.segments, compiled["KEYS"])
    grid = (-(-q.shape[2] // compiled["ROWS"]), q.shape[0] * q.shape[1])
    for start in range(0, max(1, n_segments), SEGMENT_BLOCK):
        count = min(n_segments - start, SEGMENT_BLOCK)
        rows_kernel[grid](
            q, k, scalars, argmax, mass, or_dummy(lse, scalars), sink_rows(problem), or_dummy(problem.key_mask, q),
            or_dummy(slot, scalars), or_dummy(problem.segments, q), or_dummy(only, q), *classes(problem),
            *strides(q, k), *numbers(problem), problem.window or FAR_AWAY, problem.sink, problem.recent,
            n_segments, start, scalars.stride(0),
            SLOT=slot is not None, FIXED=lse is not None,
            SEGMENTS=0 if count <= 0 else max(16, 1 << (count - 1).bit_length()), **compiled,
        )  # fmt: skip
    named = dict(zip(SCALARS, scalars, strict=True))
    named["argmax"] = torch.where(argmax < 0, -1, argmax + problem.key_start).to(torch.int64)
    named["segment_mass"] = mass
    return named


def only_segment(segments: Tensor, keys: int) -> Tensor:
    """The one segment of each tile's keys `[batch, tile]`, -2 where there are several."""
    n_tiles = -(-segments.shape[1] // keys)
    last = segments[:, -1:].expand(-1, n_tiles * keys - segments.shape[1])
    tiles = torch.cat([segments, last], dim=1).unflatten(1, (n_tiles, keys))
    return torch.where(tiles.amin(2) == tiles.amax(2), tiles[:, :, 0], -2).to(torch.int32).contiguous()


def _columns(problem: Problem, lse: Tensor) -> Tensor:
    assert problem.received is not None
    q, k, weights = unit_stride(problem.q), unit_stride(problem.k), problem.received.contiguous()
    result = torch.empty(weights.shape[1], *q.shape[:2], k.shape[2], dtype=torch.float32, device=q.device)
    compiled = constants(problem, COLUMNS)
    grid = (-(-k.shape[2] // compiled["KEYS"]), q.shape[0] * q.shape[1])
    for number, received in enumerate(result):
        weight = weights[:, number].contiguous()
        columns_kernel[grid](
            q, k, received, weight, lse.contiguous(), or_dummy(problem.key_mask, q), *classes(problem), *strides(q, k),
            weight.shape[1] if weight.shape[0] > 1 else 0, *numbers(problem), problem.window or FAR_AWAY, **compiled,
        )  # fmt: skip
    return result.permute(1, 2, 0, 3).contiguous()
