"""Whether Triton can run here, and how its kernels are launched."""

import os
from typing import Any

import torch
from torch import Tensor

from .problem import Problem

LOG2E = 1.4426950408889634
FAR_AWAY = 2**30  # beyond any position
SINGLE_PRECISION = "ieee"
"""How float32 is multiplied: exactly, without tensor cores."""
Config = dict[str, int]
Table = dict[tuple[int, bool], Config]
"""Tile sizes by head size and whether the tensors are float32, which take twice the shared memory."""


def _tiles(rows: int, keys: int, warps: int, stages: int) -> Config:
    return {"ROWS": rows, "KEYS": keys, "num_warps": warps, "num_stages": stages}


_SINGLE: Table = {(size, True): _tiles(32, 32, 4, 2) for size in (64, 128, 256)}
# no spills, at most 100 KB of shared memory, and results that were checked on a GPU (docs/long-contexts.md)
FORWARD: Table = _SINGLE | {
    (64, False): _tiles(128, 64, 8, 3),
    (128, False): _tiles(128, 32, 8, 3),
    (256, False): _tiles(64, 32, 8, 2),
}
ROW_STATISTICS: Table = _SINGLE | {
    (64, False): _tiles(128, 64, 8, 3),
    (128, False): _tiles(128, 64, 8, 3),
    (256, False): _tiles(64, 32, 8, 2),
}
COLUMNS: Table = ROW_STATISTICS | {(128, False): _tiles(128, 64, 8, 2)}


def config(table: Table, d: int, dtype: torch.dtype, blocks: bool = False) -> Config:
    """Tile sizes for a head size; a block mask takes registers and shared memory, so it gets small ones."""
    single = dtype == torch.float32
    d = 256 if blocks else d
    return table[min(size for size, of_single in table if of_single == single and size >= d), single]


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter (set before they are imported)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def check_can_run(problem: Problem) -> None:
    """Raise RuntimeError or ValueError with the reason if the kernels cannot run on these tensors."""
    if interpreted():
        if problem.q.dtype == torch.bfloat16:
            raise ValueError("Triton's interpreter multiplies bfloat16 wrongly; give float32 or float16")
    elif not problem.q.is_cuda:
        raise RuntimeError(
            f'backend "triton" needs a CUDA device, the tensors are on {problem.q.device}; take backend="cpu"'
        )
    size = max(problem.q.shape[3], 0 if problem.v is None else problem.v.shape[3])
    if size > 256:
        raise ValueError(f'head size is {size}; backend "triton" serves up to 256, take "reference"')
    if max(problem.query_start + problem.q.shape[2], problem.key_start + problem.k.shape[2]) >= FAR_AWAY:
        raise ValueError(f'backend "triton" serves positions below {FAR_AWAY}')


def unit_stride(tensor: Tensor) -> Tensor:
    """The tensor, copied only if neighbours on its last axis are not neighbours in memory."""
    return tensor if tensor.stride(3) == 1 else tensor.contiguous()


def strides(*tensors: Tensor) -> tuple[int, ...]:
    """Batch, head and row strides of each."""
    return tuple(tensor.stride(axis) for tensor in tensors for axis in range(3))


def constants(problem: Problem, table: Table) -> dict[str, Any]:
    """What every kernel is compiled for."""
    d = problem.q.shape[3]
    return {
        "GROUP": problem.group,
        "D": d,
        "D_PAD": max(16, 1 << (d - 1).bit_length()),
        "CAUSAL": problem.causal,
        "WINDOW": problem.window is not None,
        "MASK": problem.key_mask is not None,
        "CAP": problem.softcap is not None,
        "BLOCKS": problem.block_mask is not None,
        "PRECISION": SINGLE_PRECISION if problem.q.dtype == torch.float32 else "tf32",
        **config(table, d, problem.q.dtype, problem.block_mask is not None),
    }


def value_constants(problem: Problem) -> dict[str, Any]:
    """What the forward kernel is compiled for beside that: the size of values, and tiles for the larger of the two."""
    assert problem.v is not None
    d = problem.v.shape[3]
    size = max(d, problem.q.shape[3])
    tiles = config(FORWARD, size, problem.q.dtype, problem.block_mask is not None)
    return {"DV": d, "DV_PAD": max(16, 1 << (d - 1).bit_length()), **tiles}


def numbers(problem: Problem) -> tuple[int, int, int, int, float, float, int, int]:
    """heads, n_query, n_key, shift of positions, scale and cap in units of log 2, lag, number of key classes."""
    n_query, n_key = problem.q.shape[2], problem.k.shape[2]
    cap = 1.0 if problem.softcap is None else problem.softcap * LOG2E
    shift = problem.query_start - problem.key_start
    classes = 0 if problem.block_mask is None else problem.block_mask.sees.shape[1]
    return problem.q.shape[1], n_query, n_key, shift, problem.scale * LOG2E, cap, problem.lag, classes


def classes(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """The classes of queries and keys, and which see which, of a block mask."""
    if problem.block_mask is None:
        return problem.q, problem.q, problem.q
    return problem.block_mask.query, problem.block_mask.key, problem.block_mask.sees


def or_dummy(tensor: Tensor | None, like: Tensor) -> Tensor:
    """A pointer for an argument that the compiled kernel does not read."""
    return like if tensor is None else tensor.contiguous()


def sink_rows(problem: Problem) -> Tensor:
    """Position `[batch]` from which sinks count, counted from the first key."""
    return (problem.sink_start - problem.key_start).to(torch.int32)
