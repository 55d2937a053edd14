"""Time and memory of the attention kernels on this machine, beside plain sdpa and naive eager attention.

`python bench/kernels.py [--quick] [--json PATH]` prints Markdown. Times are medians of ratios measured in turn, so that
a busy machine slows both sides alike; memory is how far a fresh process's peak rises above its size before the call
(Linux only).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADS, KV_HEADS, D = 9, 3, 64  # SmolLM2-135M
SEGMENTS = 16


def work(name: str, length: int) -> Callable[[], object]:
    """One piece of work on random tensors of SmolLM2's shape, as a call without arguments."""
    import torch

    from workbench.kernels import attention_stats, streaming_attention
    from workbench.kernels.result import ROW_STATS

    torch.manual_seed(0)
    q = torch.randn(1, HEADS, length, D)
    k, v = torch.randn(1, KV_HEADS, length, D), torch.randn(1, KV_HEADS, length, D)
    segments = (torch.arange(length) + 77) * SEGMENTS // (length + 77)  # borders anywhere, not at a tile's edge
    rows: dict[str, Any] = {"stats": (*ROW_STATS, "out"), "segments": segments}
    if name == "lse given, columns":
        lse = attention_stats(q, k, stats=("lse",)).lse
        return lambda: attention_stats(q, k, lse=lse, segments=segments, received="sum")
    calls: dict[str, Callable[[], object]] = {
        "sdpa": lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        "statistics and output": lambda: attention_stats(q, k, v, **rows),
        "statistics, output, columns": lambda: attention_stats(q, k, v, received="sum", **rows),
        "output and lse": lambda: attention_stats(q, k, v, stats=("lse", "out")),
        "streaming 64 + 256": lambda: streaming_attention(q, k, v, sink=64, recent=256),
        "naive eager, one head": lambda: naive(q[0, 0], k[0, 0], v[0, 0], segments),
    }
    return calls[name]


def naive(q: Any, k: Any, v: Any, segments: Any) -> tuple[Any, ...]:
    """One head's row statistics, output and column sums as one writes them with the whole matrix."""
    import torch

    t = q.shape[0]
    scores = (q @ k.T) * D**-0.5
    scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -torch.inf)
    p = scores.softmax(1)
    top, where = p.max(1)
    at = torch.arange(t, dtype=torch.float32)
    mass = p @ torch.nn.functional.one_hot(segments, SEGMENTS).float()
    sinks = p[:, :4].sum(1)
    return p @ v, scores.logsumexp(1), -torch.xlogy(p, p).sum(1), top, where, mass, sinks, at - p @ at, p.sum(0)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(names: list[str], length: int, rounds: int) -> list[dict[str, Any]]:
    """Each work's seconds, and the median over rounds of its ratio to sdpa in the same round."""
    calls = {name: work(name, length) for name in ["sdpa", *names]}
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(timed(call))
    return [
        {
            "work": name,
            "length": length,
            "seconds": min(taken),
            "ratio": statistics.median(a / b for a, b in zip(taken, seconds["sdpa"], strict=True)),
            "ratio_of_best": min(taken) / min(seconds["sdpa"]),
        }
        for name, taken in seconds.items()
    ]


def peak_bytes(name: str, length: int) -> int:
    """How much a fresh process's peak memory grows while the work runs once."""
    code = (
        "import re, sys; sys.path.insert(0, sys.argv[1]); from kernels import work; from pathlib import Path\n"
        "call = work(sys.argv[2], int(sys.argv[3])); work(sys.argv[2], 512)()\n"
        "size = lambda what: int(re.search(what + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024\n"
        "Path('/proc/self/clear_refs').write_text('5')  # the peak starts again from here\n"
        "before = size('VmRSS'); call(); print(size('VmHWM') - before)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), name, str(length)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout)


def first_call() -> dict[str, float]:
    """Seconds of the first call in a new process, with nothing compiled yet and with the code kept on disk."""
    code = (
        "import time, torch; from workbench.kernels import attention_stats; x = torch.randn(1, 1, 8, 32)\n"
        "start = time.perf_counter(); attention_stats(x, x); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        taken = [
            float(
                subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
                ).stdout
            )
            for _ in range(2)
        ]
    return {"compiling": taken[0], "kept": taken[1]}


def growth(name: str, lengths: list[int]) -> dict[str, Any]:
    """Seconds and peak bytes at each length, and the fitted exponents of T."""
    import numpy as np

    rows = []
    for length in lengths:
        call = work(name, length)
        call()
        rows.append(
            {"length": length, "seconds": min(timed(call) for _ in range(2)), "bytes": peak_bytes(name, length)}
        )
    upper = [row for row in rows if row["length"] >= lengths[-1] // 8]  # below, fixed costs hide the growth
    logs = {key: np.log([row[key] or 1 for row in upper]) for key in ("length", "seconds", "bytes")}
    exponents = {key: float(np.polyfit(logs["length"], logs[key], 1)[0]) for key in ("seconds", "bytes")}
    return {"work": name, "rows": rows, "exponents": exponents}


def measure(quick: bool = False) -> dict[str, Any]:
    """Everything, as one JSON-able dict."""
    import torch

    length = 2048 if quick else 8192
    names = ["statistics and output", "statistics, output, columns", "output and lse", "lse given, columns"]
    names += ["streaming 64 + 256", "naive eager, one head"]
    table = paired(names, length, 5 if quick else 7)
    for row in table:
        row["bytes"] = peak_bytes(row["work"], length)
    lengths = [512, 1024, 2048, 4096] if quick else [1024, 2048, 4096, 8192, 16384, 32768]
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "shape": {"heads": HEADS, "kv_heads": KV_HEADS, "d": D, "segments": SEGMENTS, "dtype": "float32"},
        "first_call": first_call(),
        "table": table,
        "growth": [growth(name, lengths) for name in ("sdpa", "statistics and output", "statistics, output, columns")],
    }


def markdown(found: dict[str, Any]) -> str:
    """The measurements as tables."""
    lines = [
        "| work | T | seconds | × sdpa (median, paired) | × sdpa (best) | peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["table"]:
        ratios = f"{row['ratio']:.2f} | {row['ratio_of_best']:.2f}"
        lines.append(
            f"| {row['work']} | {row['length']} | {row['seconds']:.3f} | {ratios} | {row['bytes'] / 1e6:.0f} |"
        )
    for one in found["growth"]:
        e = one["exponents"]
        lines += ["", f"{one['work']}: seconds grow as T^{e['seconds']:.2f}, memory as T^{e['bytes']:.2f}", ""]
        lines += ["| T | seconds | peak memory, MB |", "|---|---|---|"]
        lines += [f"| {r['length']} | {r['seconds']:.3f} | {r['bytes'] / 1e6:.0f} |" for r in one["rows"]]
    first = found["first_call"]
    lines += [
        "",
        f"First call: {first['compiling']:.1f} s compiling, {first['kept']:.1f} s with the code kept on disk.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="T=2048 and growth to 4096")
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    given = parser.parse_args()
    found = measure(given.quick)
    print(markdown(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
