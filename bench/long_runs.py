"""A whole model with attention statistics beside its plain forward and beside TransformerLens hooks: time and memory.

`python bench/long_runs.py [--quick] [--json PATH]` prints Markdown. Each round runs every way once, and ratios to the
plain forward are taken within a round; the table shows their median, of seconds and of processor seconds (steadier on
a busy machine). No way computes logits but TransformerLens, which cannot do without. Memory is how far the peak of a
fresh process rises above its size before the run (Linux). Growth is measured once at each length.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from capture import peak, prompt

import workbench as wb
from workbench.internals.layer_statistics import StatisticsSpec
from workbench.internals.pattern_statistics import statistics as of_pattern
from workbench.internals.tokens import TokenBatch

Run = Callable[[], object]
PLAIN, ROWS, COLUMNS, HOOKS, BLIND = (
    "plain sdpa forward",
    "profile, rows",
    "profile, rows and received attention",
    "TransformerLens hooks",
    "knock-out, logits of the last token",
)
SEGMENTS = 16


def run_of(way: str, session: Any, length: int) -> Run:
    """One way of running the model over a prompt, as a call without arguments."""
    ids = prompt(length, session.shape.vocabulary)
    segments = torch.arange(length) * SEGMENTS // length
    if way == PLAIN:
        return _plain(session, ids)
    if way == HOOKS:
        return _hooks(session, ids, segments)
    if way == BLIND:
        half = length // 2
        edit = wb.edits.knock_out(queries=range(half, length), keys=range(half // 4, half // 2))
        return lambda: session.logits(ids, positions=[-1], edits=edit)
    received = {"received": "sum"} if way == COLUMNS else {}
    return lambda: session.attention_statistics(ids, lambda part: None, segments=segments, **received)


def _plain(session: Any, ids: torch.Tensor) -> Run:
    """Hugging Face's own decoder with its own sdpa attention, without logits."""
    model = _decoder(str(session.model.config._name_or_path))

    def run() -> object:
        with torch.no_grad():
            return model(input_ids=ids, use_cache=False).last_hidden_state

    return run


@cache
def _decoder(folder: str) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()


@cache
def _bridge(folder: str) -> Any:
    from direct import loaded
    from transformer_lens.model_bridge import TransformerBridge

    model, tokenizer = loaded(folder, "eager")
    # without these two it would look for the tokenizer on the Hub
    tokenizer.init_kwargs.update(name_or_path=folder, add_bos_token=True)
    return TransformerBridge.boot_transformers(folder, hf_model=model, tokenizer=tokenizer)


def _hooks(session: Any, ids: torch.Tensor, segments: torch.Tensor) -> Run:
    """The same statistics from TransformerLens' pattern hooks, on the bridge as its documentation makes it."""
    bridge = _bridge(str(session.model.config._name_or_path))
    request = StatisticsSpec(segments=segments, received="sum").of(TokenBatch.of(ids))
    layers = session.hooked.architecture.layers

    def hook(pattern: torch.Tensor, hook: Any) -> None:
        of_pattern(pattern, request, layers[hook.layer()])

    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(session.shape.layers)]

    def run() -> object:
        with torch.no_grad():
            return bridge.run_with_hooks(ids, return_type="logits", fwd_hooks=[(name, hook) for name in names])

    return run


def compared(session: Any, ways: list[str], length: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds of each way, and the medians of its ratios to the plain forward of the same round."""
    runs = {way: run_of(way, session, length) for way in ways}
    for way in ways:
        run_of(way, session, 64)()
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(rounds):
        for way in ways if turn % 2 == 0 else ways[::-1]:
            print(f"{length} tokens, round {turn + 1} of {rounds}: {way}", file=sys.stderr)
            taken[way].append(timed(runs[way]))
    rows = []
    for way in ways:
        ratios = [[mine[i] / its[i] for mine, its in zip(taken[way], taken[PLAIN], strict=True)] for i in (0, 1)]
        seconds, processor = (min(each[i] for each in taken[way]) for i in (0, 1))
        rows.append(
            {"way": way, "length": length, "rounds": rounds, "seconds": seconds, "processor_seconds": processor}
            | {"ratio": statistics.median(ratios[0]), "processor_ratio": statistics.median(ratios[1])}
        )
    return rows


def timed(run: Run) -> tuple[float, float]:
    """Seconds and processor seconds of a run."""
    start, busy = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - busy


def alone(arguments: argparse.Namespace, way: str, length: int) -> dict[str, float]:
    """Seconds, processor seconds, and bytes of growth and in all, of one run in a process of its own."""
    command = [sys.executable, __file__, "--model", arguments.model, "--threads", str(arguments.threads)]
    print(f"{length} tokens in a process of its own: {way}", file=sys.stderr)
    done = subprocess.run([*command, "--alone", way, str(length)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _alone(session: Any, way: str, length: int) -> dict[str, float]:
    run_of(way, session, 64)()
    run, taken = run_of(way, session, length), []
    grown = peak(lambda: taken.append(timed(run)))
    status = Path("/proc/self/status").read_text().splitlines()
    whole = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return {"seconds": taken[0][0], "processor_seconds": taken[0][1], "grown": grown, "whole": whole}


def growth(arguments: argparse.Namespace, way: str, lengths: list[int]) -> dict[str, Any]:
    """What one run takes at each length, and the fitted exponents of the length over the longest three."""
    import numpy as np

    rows = [{"length": length, **alone(arguments, way, length)} for length in lengths]
    upper = rows[-3:]
    logs = {key: np.log([row[key] for row in upper]) for key in ("length", "processor_seconds", "grown")}
    fitted = {key: float(np.polyfit(logs["length"], logs[key], 1)[0]) for key in ("processor_seconds", "grown")}
    return {"way": way, "rows": rows, "exponents": fitted}


def markdown(found: dict[str, Any]) -> str:
    """The measurements as tables."""
    lines = [f"{found['model']}, {found['threads']} threads, {found['table'][0]['rounds']} rounds", ""]
    lines += ["| whole model | T | seconds | × plain, seconds | × plain, processor | peak growth, MB |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in found["table"]:
        ratios = f"{row['ratio']:.2f} | {row['processor_ratio']:.2f}"
        lines.append(f"| {row['way']} | {row['length']} | {row['seconds']:.1f} | {ratios} | {row['bytes'] / 1e6:.0f} |")
    for one in found["growth"]:
        e = one["exponents"]
        lines += [
            "",
            f"{one['way']}: processor seconds grow as T^{e['processor_seconds']:.2f}, memory as T^{e['grown']:.2f}",
        ]
        lines += [
            "",
            "| T | seconds | processor seconds | peak growth, MB | peak in all, GB |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['length']} | {row['seconds']:.1f} | {row['processor_seconds']:.1f} | {row['grown'] / 1e6:.0f} "
            f"| {row['whole'] / 1e9:.2f} |"
            for row in one["rows"]
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--quick", action="store_true", help="T=1024, and growth to 2048")
    parser.add_argument("--lengths", nargs="+", type=int, default=[4096], help="lengths of the table of ratios")
    parser.add_argument("--ways", nargs="+", default=[ROWS, COLUMNS, BLIND, HOOKS], help="rows of that table")
    parser.add_argument("--longest", type=int, default=32768, help="end of the growth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", nargs=2, metavar=("WAY", "LENGTH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    session = wb.load(arguments.model)
    if arguments.alone:
        print(json.dumps(_alone(session, arguments.alone[0], int(arguments.alone[1]))))
        return
    compare, longest = ([1024], 2048) if arguments.quick else (arguments.lengths, arguments.longest)
    table = []
    for length in compare:
        ways = [way for way in (PLAIN, *arguments.ways) if way != HOOKS]
        table += compared(session, ways, length, arguments.rounds)
        if HOOKS in arguments.ways:
            table += compared(session, [PLAIN, HOOKS], length, 1)[1:]
    for row in table:
        row["bytes"] = alone(arguments, row["way"], row["length"])["grown"]
    lengths = [each for each in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536) if each <= longest]
    lengths = [each for each in lengths if arguments.quick or each >= 1024]
    found = {"model": arguments.model, "threads": arguments.threads, "table": table}
    found["growth"] = [growth(arguments, COLUMNS, lengths)] if lengths else []
    print(markdown(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
