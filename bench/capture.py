"""What reading internals costs beside the plain forward: time in pairs, and the peak of resident memory.

`python bench/capture.py --lengths 512 4096 --pairs 15` prints a table in Markdown for each length, for every engine and
for TransformerLens and nnsight used directly; `--json PATH` writes the numbers too. Longer prompts get fewer pairs.
Each pair runs the plain forward and one way of reading, in an order that alternates, and gives one ratio; the table
shows the median and the quartiles. Every run but that of attention rows computes all logits, so none gains by ending
early. `--quick` takes 512 tokens and five pairs; `--readings` names further ways. The first line pairs the plain
forward with itself: what the machine's noise makes of equal work.
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

import torch
from direct import LIBRARIES, resident

import workbench as wb
from workbench.internals.engines import ENGINES

Run = Callable[[], object]
PLAIN = "plain forward"
READINGS: dict[str, tuple[str, str]] = {
    "one residual": ("resid_post", "middle"),
    "one z": ("z", "middle"),
    "one q_rot": ("q_rot", "middle"),
    "all residuals": ("resid_post", "all"),
    "last row of all patterns": ("pattern", "all"),
}
"""Kind of site, and the layers it is read at."""


def plain(folder: str, ids: torch.Tensor) -> Run:
    """Hugging Face's own forward with its own sdpa attention, on a model of its own."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    resident(model)

    def run() -> object:
        with torch.no_grad():
            return model(input_ids=ids, use_cache=False).logits

    return run


def reading(session: Any, engine: str, ids: torch.Tensor, name: str) -> Run:
    """One way of reading, through an engine or through a library by itself."""
    kind, where = READINGS[name]
    layers = [session.shape.layers // 2] if where == "middle" else list(range(session.shape.layers))
    if engine in LIBRARIES:
        return LIBRARIES[engine](_folder(session), ids, kind, layers)
    hooked, sites = session.engine(engine), [f"{kind}.{layer}" for layer in layers]
    if kind == "pattern":
        return lambda: hooked.capture(ids, sites, positions=[-1])
    return lambda: hooked.capture(ids, sites, logits=True)


def _folder(session: Any) -> str:
    return str(session.model.config._name_or_path)


def paired(first: Run, second: Run, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of both, run in pairs whose order alternates; one pair before them is not counted."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(-1, pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            start = time.perf_counter()
            (first, second)[which]()
            if pair >= 0:
                seconds[which].append(time.perf_counter() - start)
    return seconds


def peak(run: Run) -> int:
    """Bytes by which resident memory grew at most during a run (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def prompt(length: int, vocabulary: int) -> torch.Tensor:
    """Random ids `[1, position]`, the same every time."""
    return torch.randint(3, vocabulary, (1, length), generator=torch.Generator().manual_seed(0))


def peak_alone(arguments: argparse.Namespace, length: int, engine: str, name: str) -> int:
    """The peak of one run in a process of its own, where no earlier run has left memory behind."""
    command = [sys.executable, __file__, "--model", arguments.model, "--lengths", str(length)]
    command += ["--threads", str(arguments.threads), "--peak", engine, name]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1])


def measured(arguments: argparse.Namespace, session: Any, length: int) -> list[dict[str, Any]]:
    """Seconds, ratio to the plain forward, and peak of every reading at one length."""
    ids, pairs = prompt(length, session.shape.vocabulary), max(3, arguments.pairs * 512 // length)
    baseline = plain(_folder(session), ids)
    rows = []
    asked = [(engine, name) for engine in arguments.engines for name in arguments.readings]
    for engine, name in [("–", PLAIN), *asked]:
        print(f"{length} tokens: {engine}, {name}", file=sys.stderr)
        run = baseline if name == PLAIN else reading(session, engine, ids, name)
        base, own = paired(baseline, run, pairs)
        del run
        low, middle, high = statistics.quantiles([mine / its for its, mine in zip(base, own, strict=True)], n=4)
        rows.append(
            {
                "length": length,
                "pairs": pairs,
                "engine": engine,
                "reading": name,
                "seconds": statistics.median(own),
                "ratio": middle,
                "quartiles": [low, high],
                "peak_bytes": peak_alone(arguments, length, engine, name),
            }
        )
    return rows


def main() -> None:
    everything = [*ENGINES, *LIBRARIES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--engines", nargs="+", default=everything, choices=everything)
    parser.add_argument("--readings", nargs="+", default=["one residual", "all residuals"], choices=READINGS)
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 4096])
    parser.add_argument("--pairs", type=int, default=15, help="at 512 tokens; fewer above, at least 3")
    parser.add_argument("--quick", action="store_true", help="five pairs at 512 tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", nargs=2, metavar=("ENGINE", "READING"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.lengths, arguments.pairs = [512], 5
    torch.set_num_threads(arguments.threads)
    session = wb.load(arguments.model)
    if arguments.peak:
        engine, name = arguments.peak
        ids = prompt(arguments.lengths[0], session.shape.vocabulary)
        print(peak(plain(_folder(session), ids) if name == PLAIN else reading(session, engine, ids, name)))
        return
    rows = []
    for length in arguments.lengths:
        rows += (now := measured(arguments, session, length))
        print(f"{arguments.model}, {length} tokens, {arguments.threads} threads, {now[0]['pairs']} pairs\n")
        print("| engine | reading | seconds | × plain forward (quartiles) | peak growth, MiB |\n|---|---|---|---|---|")
        for row in now:
            low, high = row["quartiles"]
            print(
                f"| {row['engine']} | {row['reading']} | {row['seconds']:.3f} "
                f"| {row['ratio']:.3f} ({low:.3f}–{high:.3f}) | {row['peak_bytes'] / 2**20:.0f} |"
            )
        print(flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"model": arguments.model, "threads": arguments.threads, "rows": rows}))


if __name__ == "__main__":
    main()
