"""Check and time every sensible tile size of the Triton kernels on this machine's GPU, and print each kernel's best.

`python bench/gpu_tiles.py [--length 8192] [--jobs 16] [--out DIR]`. A choice is timed only if its results are
those of the float64 reference. The tables of `workbench.kernels.triton_launch` are to hold what wins here and is within
the limits of `tests/kernels/ahead_of_time.py`.
"""

import argparse
import functools
import itertools
import json
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from bench.gpu import OUT_TOLERANCE, SEGMENTS, SHAPES, TOLERANCE, error, tensors
from workbench.kernels import AttentionStats, attention_stats, triton_launch
from workbench.kernels.backends import Backend
from workbench.kernels.result import ROW_STATS

DEVICE = "cuda"
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


def work(choice: Choice, length: int) -> Callable[[Backend], AttentionStats]:
    """A call of one kernel with these tile sizes; the tables of this process are changed."""
    kernel, model, dtype, tiles = choice
    table: triton_launch.Table = getattr(triton_launch, KERNELS[kernel])
    table[SHAPES[model][2], dtype == torch.float32] = dict(tiles)
    q, k, v = tensors(SHAPES[model], length, dtype, DEVICE)
    segments = torch.arange(length, device=DEVICE) * SEGMENTS // length
    lse = torch.full(q.shape[:3], 8.0, device=DEVICE)
    if kernel == "forward":
        return lambda backend: attention_stats(q, k, v, stats=("out",), backend=backend)
    if kernel == "rows":
        return lambda backend: attention_stats(q, k, stats=ROW_STATS, lse=lse, segments=segments, backend=backend)
    return lambda backend: attention_stats(q, k, stats=(), lse=lse, received="sum", backend=backend)


def serves(choice: Choice) -> bool:
    """Whether the GPU has room for a choice and gives the reference's results; it stays compiled on the disk."""
    try:
        call = work(choice, 1000)
        found, exact = call("triton").present(), call("reference").present()
        limits = TOLERANCE | {"out": OUT_TOLERANCE[choice[2]]}
        wrong = {n: e for n in limits if n in found and not (e := error(found[n], exact[n])) <= limits[n]}
        reason = f"differs from the reference: {wrong}" if wrong else ""
    except Exception as problem:  # Triton raises errors of its own for each shortage
        reason = f"{type(problem).__name__}: {problem}".splitlines()[0][:120]
    if reason:
        print(*choice, reason, flush=True)
    return not reason


def timed(group: list[Choice], length: int) -> list[dict[str, Any]]:
    """Milliseconds of each choice, or why it has none."""
    import triton

    found = []
    for choice in group:
        kernel, model, dtype, tiles = choice
        row: dict[str, Any] = {"kernel": kernel, "model": model, "dtype": str(dtype)[6:], **dict(tiles)}
        try:
            call = functools.partial(work(choice, length), "triton")
            row["ms"] = triton.testing.do_bench(call, 10, 40, return_mode="median")
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
        every = [choice for choice, fits in zip(choices(), pool.map(serves, choices()), strict=True) if fits]
    print(f"{len(every)} of {len(choices())} are right", flush=True)
    key = ("dtype", "model", "kernel")
    found: list[dict[str, Any]] = []
    for _, group in itertools.groupby(every, lambda choice: choice[:3]):
        # a fault of one kernel ends all CUDA work of its process
        with ProcessPoolExecutor(1, spawn) as pool:
            found += pool.submit(timed, list(group), given.length).result()
    (given.out / "tiles.json").write_text(json.dumps(found, indent=1) + "\n")
    ordered = sorted(found, key=lambda row: [row[n] for n in key])
    for name, rows in itertools.groupby(ordered, lambda row: [row[n] for n in key]):
        fitting = sorted((r for r in rows if "ms" in r), key=lambda r: r["ms"])
        print(*name)
        for row in fitting[:4]:
            print("   ", {n: row[n] for n in ("ROWS", "KEYS", "num_warps", "num_stages", "ms")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
