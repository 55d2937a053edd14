"""Attention statistics on the CPU."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from . import cpu_tiles as c
from .cpu_block import FAR_AWAY, ROWS, Block, KeyRange, block_ranges, start_block
from .cpu_keys import KeyTile, key_tiles
from .cpu_pool import run_tasks
from .cpu_received import KeptWeights, kept_rows
from .problem import Problem
from .result import SCALARS

STRIPS = 16  # independent parts of a column pass, whatever the number of cores: the same sums in the same order


@dataclass(frozen=True)
class Rows:
    """Where the statistics of all rows go."""

    scalars: Tensor  # [statistic, batch, head, query], in the order of result.SCALARS
    argmax: Tensor  # [batch, head, query]
    mass: Tensor  # [batch, head, query, segment]
    out: Tensor | None  # [batch, head, query, d_value]

    def fields(self) -> dict[str, Tensor]:
        """The statistics by name."""
        named = dict(zip(SCALARS, self.scalars, strict=True)) | {"argmax": self.argmax, "segment_mass": self.mass}
        return named if self.out is None else named | {"out": self.out}


def compute(problem: Problem) -> tuple[dict[str, Tensor], Tensor]:
    """Row statistics, output and attention received, and each row's lse."""
    check_finite(problem)
    tiles = tiles_of(problem)
    shape = problem.q.shape[:3]
    rows = Rows(
        torch.empty(len(SCALARS), *shape, dtype=torch.float32),
        torch.empty(shape, dtype=torch.int64),
        torch.empty(*shape, problem.n_segments, dtype=torch.float32),
        None if problem.v is None else torch.empty(problem.out_shape, dtype=problem.q.dtype),
    )
    lse, received = problem.lse, None
    if lse is None:
        received = _pass(problem, tiles, rows, None, received=problem.received is not None)
        lse = rows.scalars[SCALARS.index("lse")]
    elif problem.want or problem.received is not None:
        received = _pass(problem, tiles, rows if problem.want else None, lse, received=problem.received is not None)
    found = {name: value for name, value in rows.fields().items() if name in problem.want}
    return found if received is None else found | {"received": received}, lse


def check_finite(problem: Problem) -> None:
    """Raise on NaN, infinity, and scores that could overflow: the compiled loops assume there are none."""
    peak = {}
    for name, tensor in (("q", problem.q), ("k", problem.k), ("v", problem.v)):
        if tensor is not None:
            low, high = tensor.aminmax()
            peak[name] = max(-float(low), float(high))
            if not math.isfinite(peak[name]):
                raise ValueError(f"{name} holds NaN or infinity; padding must be finite too")
    if peak["q"] * peak["k"] * problem.q.shape[3] * max(1.0, 2 * abs(problem.scale)) > 1e38:
        raise ValueError("scores could overflow float32: the largest entries of q and k are too large")


def tiles_of(problem: Problem) -> list[list[KeyTile]]:
    """Key tiles of every sequence."""
    of_keys = problem.key_mask, problem.segments, None if problem.block_mask is None else problem.block_mask.key
    return [
        key_tiles(problem.k.shape[2], *(None if each is None else each[b] for each in of_keys))
        for b in range(problem.k.shape[0])
    ]


def _pass(
    problem: Problem, tiles: list[list[KeyTile]], rows: Rows | None, lse: Tensor | None, *, received: bool
) -> Tensor | None:
    """Every query against its keys, on all cores; fills `rows`, gives what keys received `[batch, head, set, key]`."""
    spans = block_ranges(problem, kept_rows(problem.k.shape[2], ROWS) if received and lse is None else ROWS)
    strips = [spans[i::STRIPS] for i in range(min(STRIPS, len(spans)))] if received else [[span] for span in spans]
    work = [(b, kv, strip) for b, kv in np.ndindex(problem.k.shape[:2]) for strip in strips]
    spare: list[KeptWeights] = []
    tasks = [partial(_strip, problem, tiles[b], rows, lse, b, kv, strip, received, spare) for b, kv, strip in work]
    parts = run_tasks(tasks, math.prod(problem.q.shape[:3]) * problem.k.shape[2])
    if not received or problem.received is None:
        for _ in parts:
            pass
        return None
    total = torch.zeros(*problem.q.shape[:2], problem.received.shape[1], problem.k.shape[2], dtype=torch.float64)
    for (b, kv, _), part in zip(work, parts, strict=True):
        assert part is not None
        total[b, kv * problem.group : (kv + 1) * problem.group] += part
    return total.float()


def _strip(
    problem: Problem,
    tiles: list[KeyTile],
    rows: Rows | None,
    lse: Tensor | None,
    batch: int,
    kv_head: int,
    spans: list[tuple[int, int]],
    with_received: bool,
    spare: list[KeptWeights],
) -> Tensor | None:
    """Some blocks of one kv head; returns their part of what keys received `[head in group, set, key]`.

    spare: memory that an earlier strip is done with; fresh pages would cost as much as filling them.
    """
    received = None
    if with_received and problem.received is not None:
        received = torch.zeros(problem.group, problem.received.shape[1], problem.k.shape[2], dtype=torch.float32)
    kept = None
    if received is not None and lse is None:
        n_key = problem.k.shape[2]
        kept = KeptWeights.taken(spare, kept_rows(n_key, ROWS), n_key)
    reach = KeyRange(window=FAR_AWAY if problem.window is None else problem.window)
    for first, last in spans:
        block = start_block(problem, batch, kv_head, first, last, lse)
        block.received, block.kept = received, kept
        block.add_keys(tiles, [reach], fixed=lse is not None, rows=rows is not None)
        if kept is not None and received is not None:
            kept.give(block.counted, c.log_totals(block.state), received)
        if rows is not None:
            _finish(block, rows, fixed=lse is not None)
    if kept is not None:
        spare.append(kept)
    return received


def _finish(block: Block, rows: Rows, fixed: bool) -> None:
    """Put a block's statistics in their place among all rows."""
    at = (block.batch, block.heads, slice(block.first, block.last))
    share = torch.empty(block.state.shape[0], dtype=torch.float32)
    scalars, argmax = rows.scalars[(slice(None), *at)], rows.argmax[at]
    c.finish_rows(block.state, block.mass, fixed, scalars.numpy(), argmax.numpy(), share.numpy())
    rows.mass[at] = torch.from_numpy(block.mass).float().view(rows.mass[at].shape)
    if rows.out is not None:
        rows.out[at] = (block.out * share[:, None]).view(rows.out[at].shape).to(rows.out.dtype)
