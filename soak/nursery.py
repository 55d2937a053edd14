"""A process that has everything loaded and forks a run at each request, so that runs start in milliseconds.

Reads `run RUNS SEED` and `resume RUNS ID` from standard input, one a line; answers `pid N` at once and `end N STATUS`
when the child is gone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from transformers import LlamaConfig, LlamaForCausalLM

import workbench as wb
import workbench.figures.matplotlib  # loaded once here, not in every child
from workbench.figures import Axis, Figure, Line, Panel
from workbench.probe.contract import Config, Outcome, Probe, Work
from workbench.records.record import Headline, Record
from workbench.runs import execute, prepare

STAGES = 4
SIZE = 20_000


class SoakConfig(Config):
    n: int = STAGES


class Soak(Probe[SoakConfig]):
    """A few stages of numbers that anyone can compute again from the seed."""

    name = "soak"
    question = "Does a run survive being killed?"
    method = "seeded noise, stage by stage"
    Config = SoakConfig
    presets = {"smoke": {}, "quick": {}, "full": {}}  # noqa: RUF012

    def work(self, session: Any, config: SoakConfig) -> Sequence[Work]:
        return [Work(config.n, 1, 8)]

    def run(self, session: Any, config: SoakConfig, context: Any) -> Outcome:
        parts = [
            context.stage(f"part-{index}", lambda index=index: noise(context.seed, index))
            for index in context.progress.steps(range(config.n), "parts")
        ]
        data = xr.concat(parts, "example", join="exact").assign_coords(example=np.arange(config.n))
        means = data.value.mean("position").values
        headline = Headline(name="mean", value=float(means.mean()), n=SIZE, unit="1", split="all", method="mean")
        return Outcome(
            xr.DataTree.from_dict({"/": data}),
            [headline],
            tables={"means": pd.DataFrame({"mean": means})},
            tensors={"means": torch.from_numpy(means)},
        )

    def figures(self, data: xr.DataTree, record: Record) -> Sequence[Figure]:
        lines = [Line([0, 1], [float(value), 0.0]) for value in data.value.mean("position").values]
        return [Figure("means", "Means", [Panel(lines, Axis("x"), Axis("y"))], "Means.", "Means.")]

    def summary(self, data: xr.DataTree, record: Record) -> Sequence[str]:
        return [f"The mean is {record.headline[0].value:.4f}."]


def noise(seed: int, index: int) -> xr.Dataset:
    values = np.random.default_rng([seed, index]).normal(size=SIZE)
    attrs = {"units": "1", "description": "noise"}
    return xr.Dataset({"value": ("position", values, attrs)}, {"position": np.arange(SIZE)})


def small_session() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    return wb.load((LlamaForCausalLM(config).eval(), None))


def child(session: Any, words: list[str]) -> None:
    what, runs, which = words
    if what == "run":
        execute.execute(prepare.prepare("soak", session, seed=int(which)), runs)
    else:
        seed = wb.open(which, runs=runs).record["spec"]["seed"]
        execute.execute(prepare.prepare("soak", session, seed=seed), runs, resume=which)


def main() -> None:
    # A process with threads cannot be forked safely.
    torch.set_num_threads(1)
    wb.PROBES.add(Soak)
    session = small_session()
    prepare.prepare("soak", session)
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(session, line.split())
                status = 0
            finally:
                os._exit(status)
        print(f"pid {pid}", flush=True)
        # Without a look at the child's end it would stay as a zombie.
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        print(f"end {pid}", flush=True)


if __name__ == "__main__":
    main()
