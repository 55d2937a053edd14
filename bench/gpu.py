"""Check and time the Triton kernels on a machine with a GPU, in one call; writes gpu.md and gpu.json.

`python bench/gpu.py [--out DIR] [--longest 131072] [--dry-run]`. Every kernel is first held against the float64
reference (bfloat16, float16, float32; masks, padding, grouped heads) and repeated for equal bits, then timed beside
sdpa, FlexAttention and eager attention. `--dry-run` goes the same way on the CPU with small tensors, to check this
script. Without a CUDA device and without `--dry-run` it exits with status 1.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from workbench.kernels import AttentionStats, attention_stats, streaming_attention
from workbench.kernels.result import OF_A_RUN, ROW_STATS

SHAPES = {"SmolLM2-135M": (9, 3, 64), "Llama-3.1-8B": (32, 8, 128)}
SEGMENTS = 16
# absolute errors allowed: scores of half-precision inputs are exact products, summed in float32
TOLERANCE = {"lse": 2e-5, "entropy": 2e-5, "max_weight": 1e-5, "sink_mass": 1e-5, "recent_mass": 1e-5}
TOLERANCE |= {"far_mass": 1e-5, "segment_mass": 1e-5, "weights_at": 1e-5, "distance": 1e-2, "received": 1e-2}
TOLERANCE |= {"topk_weight": 1e-5}
# keys that were chosen: where weights are equal to rounding another may win, and its weight must be the one wanted
CHOSEN = {"argmax": "max_weight", "topk_index": "topk_weight"}
TOLERANCE |= {name: TOLERANCE[weight] for name, weight in CHOSEN.items()}
OUT_TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
CHECKED = {*TOLERANCE, "out"}
assert {field.name for field in fields(AttentionStats)} == CHECKED | {*OF_A_RUN}, "the checks leave out a statistic"


def tensors(shape: tuple[int, int, int], length: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Random q, k, v."""
    heads, kv_heads, d = shape
    gen = torch.Generator().manual_seed(0)
    q = torch.randn(1, heads, length, d, generator=gen)
    k, v = torch.randn(1, kv_heads, length, d, generator=gen), torch.randn(1, kv_heads, length, d, generator=gen)
    return q.to(device, dtype), k.to(device, dtype), v.to(device, dtype)


def options(length: int, device: str) -> dict[str, dict[str, Any]]:
    """The variants that are checked."""
    at = torch.arange(length, device=device)[None]
    return {
        "causal": {},
        "without values": {"stats": ROW_STATS},
        "not causal": {"causal": False},
        "window": {"window": 100},
        "left padding": {"key_mask": at >= length // 3},
        "right padding": {"key_mask": at < length // 2},
        "softcap": {"softcap": 5.0},
        "learned sink": {"sink_logits": torch.linspace(-2, 2, 6, device=device)},
    }


def checks(device: str, backend: Any) -> list[dict[str, Any]]:
    """The largest error of every field against the reference, and whether ten repeats give equal bits."""
    every = list(itertools.product((torch.float32, torch.float16, torch.bfloat16), (256, 128, 64), options(1, "cpu")))
    if device == "cpu":
        return [check(device, backend, *one) for one in every]
    # the compiler takes a core for many seconds a variant
    with ProcessPoolExecutor(min(16, os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        return [waiting.result() for waiting in [pool.submit(check, device, backend, *one) for one in every]]


@torch.no_grad()
def check(device: str, backend: Any, dtype: torch.dtype, d: int, variant: str) -> dict[str, Any]:
    """What `checks` finds for one dtype, head size and variant."""
    length = 150 if device == "cpu" else 1000
    q, k, v = tensors((6, 2, d), length, dtype, device)
    at = torch.arange(length, device=device)
    segments = at * 5 // length  # tiles of one segment and of two
    points = torch.stack([at - 1, torch.zeros_like(at), at * 7 % length])  # the key before, the first, and any
    extra: dict[str, Any] = {"segments": segments, "received": "sum", "stats": (*ROW_STATS, "out")}
    extra |= {"weights_at": points, "topk": 3} | options(length, device)[variant]
    values = v if "out" in extra["stats"] else None
    limits = TOLERANCE | {"out": OUT_TOLERANCE[dtype]}
    ours = attention_stats(q, k, values, backend=backend, **extra).present()
    wide = [None if each is None else each.double() for each in (q, k, values)]
    exact = attention_stats(*wide, backend="reference", **extra).present()
    assert ours.keys() == exact.keys() == CHECKED - ({"out"} if values is None else set()), ours.keys()
    errors = {n: error(ours[n], exact[n]) for n in limits if n in ours and n not in CHOSEN}
    masks = {n: o for n, o in extra.items() if n in options(length, device)[variant] and n != "stats"}
    for name, weight in CHOSEN.items():
        errors[name] = chosen_error(ours[name], exact[name], exact[weight], *wide[:2], masks)
    again = [attention_stats(q, k, values, backend=backend, **extra).present() for _ in range(10)]
    equal = all(torch.equal(ours[n], other[n]) for other in again for n in ours)
    wrong = [n for n, e in errors.items() if not e <= limits[n]]
    return {"dtype": str(dtype)[6:], "d": d, "variant": variant, "errors": errors, "same bits": equal, "wrong": wrong}


def error(found: Tensor, exact: Tensor) -> float:
    """The largest absolute error; equal infinities agree."""
    gap = (found.double() - exact).abs()
    return float(torch.where(found.double() == exact, 0.0, gap).max())


def chosen_error(
    found: Tensor, exact: Tensor, weight: Tensor, q: Tensor | None, k: Tensor | None, masks: dict[str, Any]
) -> float:
    """How far the weights of the keys that were found are from those wanted; infinite where a row found none."""
    if not torch.equal(found < 0, exact < 0):
        return float("inf")
    one = found.dim() == 3  # `[batch, head, query]`, or with k more keys to a query
    ranks = [found] if one else list(found.unbind(3))
    at = [attention_stats(q, k, stats=(), weights_at=rank, backend="reference", **masks).weights_at for rank in ranks]  # type: ignore[arg-type]
    # the weights of every head at the keys of every other; of a head's own keys they stand on the diagonal
    own = [each.diagonal(dim1=1, dim2=2).transpose(1, 2) for each in at if each is not None]
    return error(own[0] if one else torch.stack(own, 3), weight)


def eager(q: Tensor, k: Tensor, v: Tensor, segments: Tensor) -> object:
    """Attention and the same statistics with the whole matrix, as one would write them."""
    t, group = q.shape[2], q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = (q @ k.transpose(2, 3)).float() * q.shape[3] ** -0.5
    scores.masked_fill_(torch.ones(t, t, dtype=torch.bool, device=q.device).triu(1), -torch.inf)
    p = scores.softmax(3)
    top = p.max(3)
    at = torch.arange(t, device=q.device, dtype=torch.float32)
    mass = p @ torch.nn.functional.one_hot(segments, SEGMENTS).float()
    return p.to(v.dtype) @ v, scores.logsumexp(3), torch.xlogy(p, p).sum(3), top, mass, at - p @ at, p.sum(2)


def flex(q: Tensor, k: Tensor, v: Tensor) -> Callable[[], object]:
    """FlexAttention with a causal mask, output and lse."""
    from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention

    t, device = q.shape[2], str(q.device)
    torch._dynamo.reset()  # it compiles a function for eight shapes at most
    block = create_block_mask(lambda b, h, i, j: i >= j, None, None, t, t, device=device)
    call: Any = torch.compile(flex_attention, dynamic=False) if q.is_cuda else flex_attention
    return lambda: call(q, k, v, block_mask=block, enable_gqa=True, return_aux=AuxRequest(lse=True))


def works(q: Tensor, k: Tensor, v: Tensor, segments: Tensor, backend: Any) -> dict[str, Callable[[], object]]:
    """What is timed."""
    rows: dict[str, Any] = {"stats": (*ROW_STATS, "out"), "segments": segments, "backend": backend}
    lse = attention_stats(q, k, stats=("lse",), backend=backend).lse
    compiled: list[Callable[[], object]] = []

    def flexible() -> object:
        if not compiled:
            compiled.append(flex(q, k, v))
        return compiled[0]()

    return {
        "sdpa": lambda: scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        "FlexAttention, output and lse": flexible,
        "eager with statistics": lambda: eager(q, k, v, segments),
        "output and lse": lambda: attention_stats(q, k, v, stats=("lse", "out"), backend=backend),
        "statistics, lse given": lambda: attention_stats(q, k, lse=lse, segments=segments, backend=backend),
        "statistics and output": lambda: attention_stats(q, k, v, **rows),
        "statistics, output, columns": lambda: attention_stats(q, k, v, received="sum", **rows),
        "streaming 64 + 256": lambda: streaming_attention(q, k, v, sink=64, recent=256, backend=backend),
    }


@torch.no_grad()
def timings(device: str, backend: Any, model: str, length: int) -> list[dict[str, Any]]:
    """Milliseconds and peak bytes of every work; a work that does not fit says so."""
    found, shape = [], SHAPES[model]
    q, k, v = tensors(shape, length, torch.bfloat16, device)
    segments = (torch.arange(length, device=device) + 77) * SEGMENTS // (length + 77)
    for work, call in works(q, k, v, segments, backend).items():
        row: dict[str, Any] = {"model": model, "length": length, "work": work}
        if work.startswith("eager") and shape[0] * length**2 * 4 * 6 > free_bytes(device):
            row["failed"] = "would not fit: needs several T×T matrices"
        else:
            try:
                row |= measured(call, device)
            except (RuntimeError, NotImplementedError) as problem:
                row["failed"] = str(problem).splitlines()[0][:200]
        found.append(row)
    return found


def free_bytes(device: str) -> int:
    """Memory left on the device."""
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else 2**30


def measured(call: Callable[[], object], device: str) -> dict[str, Any]:
    """Median milliseconds after warming up (up to 20 rounds in about a second), and peak bytes above what was there."""
    on_gpu = device == "cuda"
    for _ in range(2 if on_gpu else 1):
        call()
    taken: list[float] = []
    if on_gpu:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    while len(taken) < (3 if on_gpu else 2) or (on_gpu and len(taken) < 20 and sum(taken) < 1000):
        start = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        taken.append(1e3 * (time.perf_counter() - start))
    peak = torch.cuda.max_memory_allocated() - before if on_gpu else None
    return {"ms": statistics.median(taken), "bytes": peak}


def markdown(found: dict[str, Any]) -> str:
    """The report."""
    bad = [c for c in found["checks"] if c["wrong"] or not c["same bits"]]
    lines = [f"# Attention kernels on {found['device']}", "", f"torch {found['torch']}, triton {found['triton']}", ""]
    lines += [f"{len(found['checks'])} variants against the float64 reference: {len(bad)} outside their tolerance.", ""]
    lines += [f"- {c['dtype']}, d={c['d']}, {c['variant']}: {c['wrong'] or 'bits differ'}, {c['errors']}" for c in bad]
    lines += ["", "| model | T | work | ms | × sdpa | peak memory, MB |", "|---|---|---|---|---|---|"]
    plain = {(r["model"], r["length"]): r.get("ms") for r in found["timings"] if r["work"] == "sdpa"}
    for r in found["timings"]:
        base = plain[r["model"], r["length"]]
        if "failed" in r:
            cells = f"{r['failed']} | |"
        else:
            memory = "" if r["bytes"] is None else f"{r['bytes'] / 1e6:.0f}"
            cells = f"{r['ms']:.2f} | {r['ms'] / base if base else float('nan'):.2f} | {memory}"
        lines.append(f"| {r['model']} | {r['length']} | {r['work']} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for gpu.md and gpu.json")
    parser.add_argument("--longest", type=int, default=131072)
    parser.add_argument("--dry-run", action="store_true", help="small tensors on the CPU, to check this script")
    given = parser.parse_args()
    if not torch.cuda.is_available() and not given.dry_run:
        print(
            "no CUDA device here: run this on a machine with a GPU, or check the script with --dry-run", file=sys.stderr
        )
        return 1
    import triton

    device, backend = ("cpu", "cpu") if given.dry_run else ("cuda", "triton")
    lengths = [256] if given.dry_run else [t for t in (2**n for n in range(11, 30)) if t <= given.longest]
    found: dict[str, Any] = {
        "device": "CPU (dry run: no figure here is about a GPU)" if given.dry_run else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "checks": checks(device, backend),
        "timings": [],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for model, length in itertools.product(SHAPES, lengths):
        found["timings"] += timings(device, backend, model, length)
        (given.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
        (given.out / "gpu.md").write_text(markdown(found))
    print(markdown(found))
    return int(any(c["wrong"] or not c["same bits"] for c in found["checks"]))


if __name__ == "__main__":
    sys.exit(main())
