"""Attention statistics on the CPU."""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from . import cpu_tiles as c
from .cpu_block import FAR_AWAY, Block, Reach, block_ranges, start_block
from .cpu_keys import KeyTile, key_tiles
from .cpu_pool import run_tasks
from .problem import Problem

Fields = dict[str, Tensor]
STRIPS = 16  # independent parts of a column pass, whatever the number of cores: the same sums in the same order


def compute(problem: Problem) -> tuple[Fields, Tensor]:
    """Row statistics, output and columns, and each row's lse."""
    check_finite(problem)
    tiles = tiles_of(problem)
    fields = _allocate(problem)
    lse = problem.lse
    columns = problem.columns is not None
    if lse is None:
        tasks = [
            partial(_rows, problem, tiles[b], fields, b, kv, [span], None, False)
            for b, kv in np.ndindex(problem.k.shape[:2])
            for span in block_ranges(problem)
        ]
        for _ in run_tasks(tasks, _scores(problem)):
            pass
        lse = fields["lse"]
        if bool((lse.isnan() | (lse == torch.inf)).any()):
            raise ValueError("scores overflow float32; the inputs or the scale are too large")
        if columns:
            fields["columns"] = _strips(problem, tiles, fields, lse, rows=False)
    elif columns:
        fields["columns"] = _strips(problem, tiles, fields, lse, rows=bool(problem.want))
    elif problem.want:
        _strips(problem, tiles, fields, lse, rows=True)
    return {name: value for name, value in fields.items() if name in problem.want or name == "columns"}, lse


def check_finite(problem: Problem) -> None:
    """Raise on NaN or infinity: the compiled loops assume there is none."""
    for name in ("q", "k", "v"):
        tensor = getattr(problem, name)
        if tensor is not None and not math.isfinite(tensor.sum(dtype=torch.float32)):
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{name} holds NaN or infinity; padding must be finite too")


def tiles_of(problem: Problem) -> list[list[KeyTile]]:
    """Key tiles of every sequence."""
    mask, segments = problem.key_mask, problem.segments
    return [
        key_tiles(problem.k.shape[2], None if mask is None else mask[b], None if segments is None else segments[b])
        for b in range(problem.k.shape[0])
    ]


def _scores(problem: Problem) -> int:
    return math.prod(problem.q.shape[:3]) * problem.k.shape[2]


def _allocate(problem: Problem) -> Fields:
    rows = problem.q.shape[:3]
    fields = {
        name: torch.empty(rows)
        for name in ("lse", "entropy", "max_weight", "distance", "sink_mass", "recent_mass", "far_mass")
    }
    fields["argmax"] = torch.empty(rows, dtype=torch.int64)
    if problem.segments is not None:
        fields["segment_mass"] = torch.empty(*rows, problem.n_segments)
    if problem.v is not None:
        fields["out"] = torch.empty_like(problem.q, memory_format=torch.contiguous_format)
    return fields


def _rows(
    problem: Problem,
    tiles: list[KeyTile],
    fields: Fields,
    batch: int,
    kv_head: int,
    spans: list[tuple[int, int]],
    lse: Tensor | None,
    with_columns: bool,
    rows: bool = True,
) -> Tensor | None:
    """Some blocks of one kv head; returns their part of the columns `[head in group, set, key]`."""
    columns = None
    if with_columns and problem.columns is not None:
        columns = torch.zeros(problem.group, problem.columns.shape[1], problem.k.shape[2], dtype=torch.float64)
    reach = Reach(window=FAR_AWAY if problem.window is None else problem.window)
    for first, last in spans:
        block = start_block(problem, batch, kv_head, first, last, lse)
        block.columns = columns
        block.add_keys(tiles, [reach], fixed=lse is not None, rows=rows)
        if rows:
            _finish(block, fields, fixed=lse is not None)
    return columns


def _strips(problem: Problem, tiles: list[list[KeyTile]], fields: Fields, lse: Tensor, rows: bool) -> Tensor:
    """The pass after lse is known: columns `[batch, head, set, key]`, and row statistics if `rows`."""
    spans = block_ranges(problem)
    strips = [spans[i::STRIPS] for i in range(min(STRIPS, len(spans)))]
    n_sets = 0 if problem.columns is None else problem.columns.shape[1]
    total = torch.zeros(*problem.q.shape[:2], n_sets, problem.k.shape[2], dtype=torch.float64)
    work = [(b, kv, strip) for b, kv in np.ndindex(problem.k.shape[:2]) for strip in strips]
    tasks = [partial(_rows, problem, tiles[b], fields, b, kv, strip, lse, n_sets > 0, rows) for b, kv, strip in work]
    for (b, kv, _), part in zip(work, run_tasks(tasks, _scores(problem)), strict=True):
        if part is not None:
            total[b, kv * problem.group : (kv + 1) * problem.group] += part
    return total.float()


def _finish(block: Block, fields: Fields, fixed: bool) -> None:
    """Turn a block's sums into statistics, in their place among all rows."""
    state, where = block.state, (block.batch, block.heads, slice(block.first, block.last))
    m, total = state[:, c.M], state[:, c.TOTAL]
    seen = np.isfinite(m) & (total > 0)
    share = np.ones_like(total) if fixed else np.divide(1.0, total, out=np.zeros_like(total), where=seen)
    log_total = np.zeros_like(total) if fixed else np.log(total, out=np.zeros_like(total), where=seen)
    lse2 = m + log_total / math.log(2)
    best = np.subtract(state[:, c.BEST], lse2, out=np.full_like(total, -np.inf), where=np.isfinite(lse2))
    values = {
        "lse": math.log(2) * lse2,
        "entropy": np.maximum(log_total - math.log(2) * state[:, c.SHIFTED] * share, 0),
        "max_weight": np.exp2(best),
        "argmax": state[:, c.WHERE],
        "distance": state[:, c.DISTANCE] * share,
        "sink_mass": state[:, c.SINK] * share,
        "recent_mass": state[:, c.RECENT] * share,
        "far_mass": state[:, c.FAR] * share,
    }
    for name, value in values.items():
        field = fields[name]
        field[where] = torch.from_numpy(value).view(field[where].shape).to(field.dtype)
    if "segment_mass" in fields:
        field = fields["segment_mass"]
        field[where] = torch.from_numpy(block.mass * share[:, None]).view(field[where].shape).float()
    if "out" in fields:
        field = fields["out"]
        normal = block.out * torch.from_numpy(share).float()[:, None]
        field[where] = normal.view(field[where].shape).to(field.dtype)
