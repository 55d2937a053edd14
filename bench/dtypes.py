"""What each dtype costs in accuracy: a model's logits, residual stream, attention and answers beside float64.

`python bench/dtypes.py` prints a table in Markdown. The same weights are loaded in each dtype; texts are the built-in
haystack. `--model`, `--texts` and `--length` take others. Differences are to the model in float64.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

import workbench as wb
from workbench.texts.haystack import SYNTHETIC, read_haystack

DTYPES = ("float32", "bfloat16", "float16")
LAYERS = 3
"""Layers whose patterns are compared: the first, a middle and the last."""
NEW = 32


def texts(session: Any, count: int, length: int) -> list[list[int]]:
    """Token ids of `count` stretches of the haystack."""
    found = []
    for seed in range(count):
        sentences = islice(read_haystack(SYNTHETIC).sentences(np.random.default_rng(seed)), length)
        found.append(session.tokens(" ".join(sentences)).rows()[0][:length])
    return found


def read(session: Any, rows: Sequence[list[int]]) -> dict[str, Any]:
    """Log-probabilities, last residual, patterns, entropies and greedy answers of each text, and seconds a text."""
    last = session.shape.layers - 1
    layers = [0, last // 2, last]
    found: dict[str, list[Any]] = {"logits": [], "residual": [], "pattern": [], "entropy": [], "answer": []}
    seconds = []
    for row in rows:
        began = time.perf_counter()
        session.logits(row)
        seconds.append(time.perf_counter() - began)
        seen = session.capture(row, [f"resid_post.{last}", *(f"pattern.{layer}" for layer in layers)], logits=True)
        found["logits"].append(seen.logits[0].double().log_softmax(-1))
        found["residual"].append(seen[f"resid_post.{last}"][0].double())
        found["pattern"].append(torch.stack([seen[f"pattern.{layer}"][0].double() for layer in layers]))
        by_layer = session.attention_statistics(row, stats=("entropy",))
        found["entropy"].append(torch.stack([each.entropy[0].double() for each in by_layer.values()]))
        found["answer"].append(session.generate(row, NEW, stop=()).rows()[0])
    return {**found, "seconds": min(seconds)}


def differences(found: dict[str, Any], exact: dict[str, Any]) -> dict[str, str]:
    """What a table says of one dtype."""

    def pairs(name: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(zip(found[name], exact[name], strict=True))

    divergence = torch.cat([(e.exp() * (e - f)).sum(-1) for f, e in pairs("logits")])
    same = torch.cat([f.argmax(-1) == e.argmax(-1) for f, e in pairs("logits")]).double()
    residual = torch.cat([(f - e).norm(dim=-1) / e.norm(dim=-1) for f, e in pairs("residual")])
    moved = torch.cat([(f - e).abs().sum(-1).flatten() / 2 for f, e in pairs("pattern")])
    entropy = torch.cat([(f - e).abs().flatten() for f, e in pairs("entropy")])
    kept = [
        next((i for i, (a, b) in enumerate(zip(f, e, strict=True)) if a != b), NEW)
        for f, e in zip(found["answer"], exact["answer"], strict=True)
    ]
    return {
        "KL of the next token, mean (largest), nats": f"{divergence.mean():.1e} ({divergence.max():.1e})",
        "same most likely token": f"{same.mean():.2%}",
        "last residual, median (largest) of its norm": f"{residual.median():.1e} ({residual.max():.1e})",
        "attention weight moved in a row, mean (largest)": f"{moved.mean():.1e} ({moved.max():.1e})",
        "entropy of a row, mean (largest), nats": f"{entropy.mean():.1e} ({entropy.max():.1e})",
        f"greedy tokens until another one, of {NEW}": ", ".join(map(str, kept)),
        "seconds a text": f"{found['seconds']:.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--texts", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    given = parser.parse_args()
    with wb.load(given.model, dtype="float64") as session:
        rows = texts(session, given.texts, given.length)
        exact = read(session, rows)
    columns = {}
    for dtype in DTYPES:
        with wb.load(given.model, dtype=dtype) as session:
            columns[dtype] = differences(read(session, rows), exact)
    print(f"{given.model}, {given.texts} texts of {given.length} tokens\n")
    print(f"| | {' | '.join(DTYPES)} |\n|---|{'---|' * len(DTYPES)}")
    for name in columns[DTYPES[0]]:
        print(f"| {name} | {' | '.join(column[name] for column in columns.values())} |")


if __name__ == "__main__":
    main()
