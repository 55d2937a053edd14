"""Time every sensible tile size of the Triton kernels on this machine's GPU and print the best of each kernel.

`python bench/gpu_tiles.py [--length 8192] [--jobs 16] [--out DIR]`. The tables of `workbench.kernels.triton_launch`
hold what won; run this on another kind of GPU to see whether they hold there.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from bench.gpu import SEGMENTS, SHAPES, tensors
from workbench.kernels import attention_stats, triton_launch
from workbench.kernels.result import ROW_STATS

KERNELS = {"forward": "FORWARD", "rows": "ROW_STATISTICS", "columns": "COLUMNS"}
Choice = tuple[str, str, torch.dtype, tuple[tuple[str, int], ...]]


def choices() -> list[Choice]:
    """Kernel, model, dtype and tile sizes that may fit."""
    half = list(itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3)))
    single = list(itertools.product((32, 64, 128), (32, 64), (4, 8), (2,)))
    found: list[Choice] = []
    for kernel, (model, shape) in itertools.product(KERNELS, SHAPES.items()):
        for dtype, sizes in ((torch.bfloat16, half), (torch.float32, single)):
            for rows, keys, warps, stages in sizes:
                # what stays, and what comes in ahead: bytes of shared memory
                stays, comes = (keys, rows) if kernel == "columns" else (rows, keys * (2 if kernel == "forward" else 1))
                shared = (stays + comes * (stages - 1)) * shape[2] * dtype.itemsize
                if shared <= 100 * 1024 and rows * keys < (16384 if kernel != "rows" else 8193):
                    tiles = (("ROWS", rows), ("KEYS", keys), ("num_warps", warps), ("num_stages", stages))
                    found.append((kernel, model, dtype, tiles))
    return found


def work(choice: Choice, length: int) -> Callable[[], object]:
    """One kernel's launch with these tile sizes; the caller's tables are changed."""
    kernel, model, dtype, tiles = choice
    size = SHAPES[model][2]
    table: dict[Any, Any] = getattr(triton_launch, KERNELS[kernel])
    table[size, dtype == torch.float32] = dict(tiles)
    q, k, v = tensors(SHAPES[model], length, dtype, "cuda")
    segments = torch.arange(length, device="cuda") * SEGMENTS // length
    lse = torch.full(q.shape[:3], 8.0, device="cuda")
    if kernel == "forward":
        return lambda: attention_stats(q, k, v, stats=("out",), backend="triton")
    if kernel == "rows":
        return lambda: attention_stats(q, k, stats=ROW_STATS, lse=lse, segments=segments, backend="triton")
    return lambda: attention_stats(q, k, stats=(), lse=lse, columns="sum", backend="triton")


def compiled(choice: Choice) -> bool:
    """Compile into Triton's cache on the disk; whether the GPU has room for it."""
    try:
        work(choice, 1024)()
        torch.cuda.synchronize()
    except Exception as problem:  # Triton raises errors of its own for each shortage
        print(*choice, f"{type(problem).__name__}: {problem}".splitlines()[0][:120], flush=True)
        return False
    return True


def timed(group: list[Choice], length: int) -> list[dict[str, Any]]:
    """Milliseconds of each choice, or why it has none."""
    import triton

    found = []
    for choice in group:
        kernel, model, dtype, tiles = choice
        row: dict[str, Any] = {"kernel": kernel, "model": model, "dtype": str(dtype)[6:], **dict(tiles)}
        try:
            row["ms"] = triton.testing.do_bench(work(choice, length), 10, 40, return_mode="median")
        except RuntimeError as problem:
            row["failed"] = str(problem).splitlines()[0][:200]
        found.append(row)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.jobs, spawn) as pool:
        every = [choice for choice, fits in zip(choices(), pool.map(compiled, choices()), strict=True) if fits]
    print(f"{len(every)} of {len(choices())} compiled", flush=True)
    key = ("dtype", "model", "kernel")
    found: list[dict[str, Any]] = []
    for _, group in itertools.groupby(every, lambda choice: choice[:3]):
        # a fault of one kernel ends all CUDA work of its process
        with ProcessPoolExecutor(1, spawn) as pool:
            found += pool.submit(timed, list(group), given.length).result()
    (given.out / "tiles.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, rows in itertools.groupby(
        sorted(found, key=lambda r: [r[n] for n in key]), lambda r: [r[n] for n in key]
    ):
        fitting = sorted((r for r in rows if "ms" in r), key=lambda r: r["ms"])
        print(*name)
        for row in fitting[:4]:
            print("   ", {n: row[n] for n in ("ROWS", "KEYS", "num_warps", "num_stages", "ms")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
