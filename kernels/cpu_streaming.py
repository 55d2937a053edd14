"""Streaming attention on the CPU: the tiles of the sinks, then those of the recent keys."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from . import cpu_tiles as c
from .cpu import check_finite, tiles_of
from .cpu_block import KeyRange, block_ranges, start_block
from .cpu_keys import KeyTile
from .cpu_pool import run_tasks
from .problem import Problem


def stream(problem: Problem, sink: Tensor, recent: Tensor) -> Tensor:
    """The output `[batch, head, query, d_value]`; sink and recent are `[kv_head]`."""
    check_finite(problem)
    tiles = tiles_of(problem)
    out = torch.empty(problem.out_shape, dtype=problem.q.dtype)
    tasks = [
        partial(_block, problem, tiles[b], out, b, kv, span, int(sink[kv]), int(recent[kv]))
        for b, kv in np.ndindex(problem.k.shape[:2])
        for span in block_ranges(problem)
    ]
    for _ in run_tasks(tasks, problem.q.shape[1] * problem.q.shape[2] * problem.k.shape[2]):
        pass
    return out


def _block(
    problem: Problem,
    tiles: list[KeyTile],
    out: Tensor,
    batch: int,
    kv_head: int,
    span: tuple[int, int],
    sink: int,
    recent: int,
) -> None:
    after_sinks = int(problem.sink_start[batch]) + sink
    reaches = [KeyRange(high=after_sinks), KeyRange(low=after_sinks, window=recent)]
    block = start_block(problem, batch, kv_head, *span, None)
    block.add_keys(tiles, reaches, fixed=False, rows=True)
    total = block.state[:, c.TOTAL, None]
    share = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    result = block.out * torch.from_numpy(share).float()
    where = (batch, block.heads, slice(*span))
    out[where] = result.view(out[where].shape).to(out.dtype)
