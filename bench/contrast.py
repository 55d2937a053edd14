"""Divergences of layers without their logits all at once: time beside one unembedding a layer, and memory.

`python bench/contrast.py [--quick] [--json PATH]` prints Markdown. Times are medians of ratios measured in turn, so
that a busy machine slows both sides alike; memory is how far a fresh process's peak rises above its size before the
call (Linux only).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VOCABULARY, D, LAYERS = 49152, 576, 16  # SmolLM2-135M


def work(name: str, rows: int) -> Callable[[], object]:
    """One piece of work on random tensors of SmolLM2's shape, as a call without arguments."""
    import torch

    from workbench.kernels.contrast import ROWS, contrast_scores, divergences, layer_divergences

    torch.manual_seed(0)
    matrix = torch.randn(VOCABULARY, D) / D**0.5
    states, last = torch.randn(LAYERS, rows, D), torch.randn(rows, D) @ matrix.T

    def unembed(part: torch.Tensor) -> torch.Tensor:
        return part @ matrix.T

    def unembeddings() -> None:
        for start in range(0, rows, ROWS):
            for layer in range(LAYERS):
                unembed(states[layer, start : start + ROWS])

    def naive() -> tuple[torch.Tensor, torch.Tensor]:
        """As one writes it with the logits of all layers."""
        p, q = last.softmax(-1), torch.stack([unembed(layer) for layer in states]).softmax(-1)
        m = (p + q) / 2
        js = (torch.xlogy(p, p) - torch.xlogy(p, m) + torch.xlogy(q, q) - torch.xlogy(q, m)).sum(-1) / 2
        released = (torch.xlogy(m, m) * 2 - torch.xlogy(m, p) - torch.xlogy(m, q)).mean(-1) / 2
        return js, released

    ids = torch.arange(rows)
    amateur = last + torch.randn(rows, VOCABULARY)
    calls: dict[str, Callable[[], object]] = {
        "unembedding of every layer": unembeddings,
        "divergences of every layer": lambda: layer_divergences(last, states, lambda layer, part: unembed(part)),
        "all logits, then divergences": naive,
        "two log-softmaxes": lambda: (last.log_softmax(-1), amateur.log_softmax(-1)),
        "masked, normalised contrast of two": lambda: contrast_scores(
            [last, amateur], [1.0, -1.0], plausibility=0.1, normalise=True, targets=ids
        ),
        "divergences of one pair": lambda: divergences(last, [amateur]),
    }
    return calls[name]


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(base: str, names: list[str], rows: int, rounds: int) -> list[dict[str, Any]]:
    """Each work's seconds, and the median over rounds of its ratio to the first one's in the same round."""
    calls = {name: work(name, rows) for name in [base, *names]}
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(timed(call))
    return [
        {
            "work": name,
            "rows": rows,
            "seconds": min(taken),
            "ratio": statistics.median(a / b for a, b in zip(taken, seconds[base], strict=True)),
            "bytes": peak_bytes(name, rows),
        }
        for name, taken in seconds.items()
    ]


def peak_bytes(name: str, rows: int) -> int:
    """How much a fresh process's peak memory grows while the work runs once."""
    code = (
        "import re, sys; sys.path.insert(0, sys.argv[1]); from contrast import work; from pathlib import Path\n"
        "work(sys.argv[2], 8)(); call = work(sys.argv[2], int(sys.argv[3]))\n"
        "size = lambda what: int(re.search(what + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024\n"
        "Path('/proc/self/clear_refs').write_text('5')  # the peak starts again from here\n"
        "before = size('VmRSS'); call(); print(size('VmHWM') - before)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), name, str(rows)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout)


def measure(quick: bool = False) -> dict[str, Any]:
    """Everything, as one JSON-able dict."""
    import torch

    rows, rounds = (64, 3) if quick else (256, 5)
    layers = ["divergences of every layer", "all logits, then divergences"]
    pairs = ["masked, normalised contrast of two", "divergences of one pair"]
    return {
        "threads": torch.get_num_threads(),
        "shape": {"vocabulary": VOCABULARY, "d": D, "layers": LAYERS, "dtype": "float32"},
        "tables": [
            paired("unembedding of every layer", layers, rows, rounds),
            paired("two log-softmaxes", pairs, rows, rounds),
        ],
    }


def markdown(found: dict[str, Any]) -> str:
    """The measurements as tables."""
    lines = []
    for table in found["tables"]:
        lines += [f"| work | rows | seconds | × {table[0]['work']} | peak memory, MB |", "|---|---|---|---|---|"]
        lines += [
            f"| {row['work']} | {row['rows']} | {row['seconds']:.3f} | {row['ratio']:.2f} | {row['bytes'] / 1e6:.0f} |"
            for row in table
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="64 rows")
    parser.add_argument("--json", type=Path, help="also write the measurements here")
    given = parser.parse_args()
    found = measure(given.quick)
    print(markdown(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
