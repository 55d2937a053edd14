"""What sweeps cost: activation patching beside TransformerLens' own, and head ablation beside a pass for each head.

`python bench/sweeps.py` patches the residual stream of the default model, 30 layers × 20 positions, and takes each of
its 270 heads away over a prompt of 200 tokens. The two prompts of the first differ from their first token on, so every
cell is another run; `--lengths` are the two prompts' tokens, `--repeats` how often each is timed, in turns. The table
shows median seconds, the ratio of the other way to ours, and how far the values of the two are apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from direct import loaded

import workbench as wb

RIGHT, WRONG = 1000, 2000
"""Tokens whose logits are compared."""
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def prompts(length: int, vocabulary: int) -> tuple[list[int], list[int]]:
    """Two rows of random ids that differ at every position."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(3, vocabulary, (2, length), generator=generator)
    return rows[0].tolist(), rows[1].tolist()


def lens_sweep(folder: str, clean: list[int], corrupted: list[int]) -> Callable[[], torch.Tensor]:
    """`get_act_patch_resid_pre` of TransformerLens, on its bridge."""
    from transformer_lens import patching
    from transformer_lens.model_bridge import TransformerBridge

    model, tokenizer = loaded(folder, "eager")
    tokenizer.init_kwargs.update(name_or_path=folder, add_bos_token=True)
    bridge = TransformerBridge.boot_transformers(folder, hf_model=model, tokenizer=tokenizer)

    def run() -> torch.Tensor:
        with torch.no_grad():
            _, cache = bridge.run_with_cache(torch.tensor([clean]))
            return patching.get_act_patch_resid_pre(
                bridge, torch.tensor([corrupted]), cache, lambda logits: logits[0, -1, RIGHT] - logits[0, -1, WRONG]
            )

    return run


def timed(runs: dict[str, Callable[[], Any]], repeats: int, clock: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of each, run in turns, and what each gave last."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    given = {}
    for _ in range(repeats):
        for name, run in runs.items():
            start = CLOCKS[clock]()
            given[name] = run()
            seconds[name].append(CLOCKS[clock]() - start)
            print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    return {name: statistics.median(each) for name, each in seconds.items()}, given


def patching_row(session: Any, length: int, repeats: int, clock: str) -> dict[str, Any]:
    clean, corrupted = prompts(length, session.shape.vocabulary)
    metric = wb.metrics.logit_difference(RIGHT, WRONG)
    own = lambda: session.sweep(clean, corrupted, wb.grids.patch("resid_pre"), metric)  # noqa: E731
    own()  # checks of the model, made once
    other = lens_sweep(str(session.model.config._name_or_path), clean, corrupted)
    seconds, given = timed({"session.sweep": own, "TransformerLens": other}, repeats, clock)
    apart = float(
        (torch.tensor(given["session.sweep"].value.values[0]) - given["TransformerLens"].double()).abs().max()
    )
    return row("residual patching", length, session.shape.layers * length, seconds, apart)


def ablation_row(session: Any, length: int, repeats: int, clock: str) -> dict[str, Any]:
    clean, _ = prompts(length, session.shape.vocabulary)
    layers, heads = session.shape.layers, session.shape.heads
    metric = wb.metrics.logit_difference(RIGHT, WRONG)
    own = lambda: session.sweep(clean, None, wb.grids.ablate(), metric)  # noqa: E731

    def passes() -> torch.Tensor:
        edits = [wb.edits.set(f"z.{layer}.{head}", 0.0) for layer in range(layers) for head in range(heads)]
        logits = torch.stack([session.logits([clean], [-1], edit)[0, 0] for edit in edits])
        return (logits[:, RIGHT] - logits[:, WRONG]).reshape(layers, heads)

    seconds, given = timed({"session.sweep": own, "a pass for each": passes}, repeats, clock)
    apart = float(
        (torch.tensor(given["session.sweep"].value.values[0]) - given["a pass for each"].double()).abs().max()
    )
    return row("head ablation", length, layers * heads, seconds, apart)


def row(work: str, length: int, cells: int, seconds: dict[str, float], apart: float) -> dict[str, Any]:
    own, (other, theirs) = (
        seconds["session.sweep"],
        next(item for item in seconds.items() if item[0] != "session.sweep"),
    )
    return {"work": work, "tokens": length, "cells": cells, "seconds": own, "other": other, "other_seconds": theirs,
            "ratio": theirs / own, "apart": apart}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--lengths", nargs=2, type=int, default=[20, 200])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="processor: where other work shares the machine"
    )
    parser.add_argument("--only", choices=["patching", "ablation"])
    parser.add_argument("--quick", action="store_true", help="8 and 24 tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    session = wb.load(arguments.model, dtype="float32")
    lengths = [8, 24] if arguments.quick else arguments.lengths
    makes = {"patching": patching_row, "ablation": ablation_row}
    rows = [
        make(session, length, arguments.repeats, arguments.clock)
        for (name, make), length in zip(makes.items(), lengths, strict=True)
        if arguments.only in (None, name)
    ]
    print(f"{arguments.model}, {arguments.threads} threads, {arguments.repeats} repeats, {arguments.clock} seconds\n")
    print("| work | tokens | cells | seconds | beside | its seconds | times as fast | values apart |")
    print("|---|---|---|---|---|---|---|---|")
    for one in rows:
        print(
            f"| {one['work']} | {one['tokens']} | {one['cells']} | {one['seconds']:.2f} | {one['other']} "
            f"| {one['other_seconds']:.2f} | {one['ratio']:.2f} | {one['apart']:.1e} |"
        )
    if arguments.json:
        told = {"model": arguments.model, "threads": arguments.threads, "rows": rows}
        arguments.json.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
