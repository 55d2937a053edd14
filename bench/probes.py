"""Position probes of every block and prefix: all together, and one after the other on the same states.

`python bench/probes.py` takes the learner of 4 blocks and d = 4 (its architecture with random weights where it does not
ship), probes the weights of least squares after every prefix, and prints processor seconds of both ways and the largest
difference in R² on test prompts; `--json PATH` writes the numbers too, `--quick` takes fewer steps. One after the other
is `PositionProbe` on each block and prefix by itself, with the same hidden width, steps, batches and prompts.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import workbench as wb
from workbench.probe.position_probe import Head, PositionProbe, Training
from workbench.probe.prefix_probes import PrefixProbes
from workbench.probes.icl_regression.encodings import RATES, states_of, targets_of
from workbench.probes.icl_regression.learner import LearnerConfig, transformer
from workbench.probes.icl_regression.prompts import sample
from workbench.progress import Reporter

LEARNER = Path(__file__).parents[1] / "data" / "organisms" / "icl-depth4"
PREFIXES = list(range(1, 12))
ALONE = 1e-3
"""The learning rate of a probe by itself, which has one more matrix on the way; the paper's."""


def r2(said: np.ndarray, wanted: np.ndarray) -> float:
    """Share of variance explained, of `[example, output]`."""
    return float(1 - np.square(said - wanted).sum() / np.square(wanted - wanted.mean(0)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--steps", type=int)
    asked = parser.parse_args()
    steps = asked.steps or (20 if asked.quick else 700)
    if LEARNER.is_dir():
        session = wb.load(LEARNER)
    else:
        torch.manual_seed(0)
        session = wb.load(transformer(LearnerConfig()).eval())
    prompts = sample(asked.prompts, 12, 4, np.random.default_rng(0))
    states = states_of(session, prompts, max(PREFIXES), Reporter(), "states")
    goal = targets_of(prompts, PREFIXES)["weights"]
    ends = [int(0.6 * len(goal)), int(0.8 * len(goal))]
    train, validation, test = slice(0, ends[0]), slice(*ends), slice(ends[1], None)
    found = []
    print("| head | probes | together | one after the other | ratio | largest difference in R² |")
    print("|---|---|---|---|---|---|")
    heads: tuple[Head, ...] = ("linear", "mlp")
    for head in heads:
        began = time.process_time()
        how = Training(asked.hidden, steps, 256, RATES[head])
        reach = [2 * n for n in PREFIXES]
        seen = states[:, validation], goal[validation]
        probes = PrefixProbes.fit(states[:, train], goal[train], reach, seen, np.random.default_rng(1), head, how)
        together = time.process_time() - began
        said = probes.predict(states[:, test]).numpy()
        alone, apart = 0.0, 0.0
        for block in range(len(states)):
            for place, n in enumerate(PREFIXES):
                part = states[block : block + 1, :, : 2 * n]
                began = time.process_time()
                one = PositionProbe.fit(
                    part[:, train],
                    goal[train, place],
                    (part[:, validation], goal[validation, place]),
                    "regression",
                    np.random.default_rng(1),
                    head,
                    Training(asked.hidden, steps, 256, ALONE),
                )
                alone += time.process_time() - began
                by_itself = one.predict(part[:, test])[0].detach().numpy()
                gap = r2(said[block, place], goal[test, place]) - r2(by_itself, goal[test, place])
                apart = gap if abs(gap) > abs(apart) else apart
        count = len(states) * len(PREFIXES)
        print(
            f"| {head} | {count} | {together:.1f} s | {alone:.1f} s | {alone / together:.1f} × | {apart:+.3f} |",
            flush=True,
        )
        found.append({"head": head, "probes": count, "together": together, "alone": alone, "r2_difference": apart})
    if asked.json:
        asked.json.write_text(json.dumps({"steps": steps, "hidden": asked.hidden, "rows": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
