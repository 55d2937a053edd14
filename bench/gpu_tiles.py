"""Time every sensible tile size of the Triton kernels on this machine's GPU and print the best of each kernel.

`python bench/gpu_tiles.py [--length 8192] [--jobs 16] [--out DIR]`. The tables of `workbench.kernels.triton_launch` hold
what won; run this on another kind of GPU to see whether they hold there.
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
    """Kernel, model, dtype and tile sizes."""
    half = itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3, 4))
    single = itertools.product((32, 64, 128), (32, 64), (4, 8), (2,))
    found = []
    for dtype, sizes in ((torch.bfloat16, half), (torch.float32, single)):
        for rows, keys, warps, stages in sizes:
            tiles = (("ROWS", rows), ("KEYS", keys), ("num_warps", warps), ("num_stages", stages))
            found += [(kernel, model, dtype, tiles) for kernel in KERNELS for model in SHAPES]
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


def compiled(choice: Choice) -> str | None:
    """Compile into Triton's cache on the disk; the reason if the GPU has no room for it."""
    try:
        work(choice, 1024)()
        torch.cuda.synchronize()
    except Exception as problem:  # Triton raises errors of its own for each shortage
        return f"{type(problem).__name__}: {problem}".splitlines()[0][:120]
    return None


def main() -> int:
    import triton

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    every = choices()
    with ProcessPoolExecutor(given.jobs, multiprocessing.get_context("spawn")) as pool:
        reasons = list(pool.map(compiled, every))
    found: list[dict[str, Any]] = []
    for choice, reason in zip(every, reasons, strict=True):
        kernel, model, dtype, tiles = choice
        row: dict[str, Any] = {"kernel": kernel, "model": model, "dtype": str(dtype)[6:], **dict(tiles)}
        if reason is None:
            row["ms"] = triton.testing.do_bench(work(choice, given.length), 10, 40, return_mode="median")
        else:
            row["failed"] = reason
        found.append(row)
    (given.out / "tiles.json").write_text(json.dumps(found, indent=1) + "\n")
    key = ("dtype", "model", "kernel")
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
