"""The same run twenty times in one process: resident memory stays flat once everything is loaded.

`python soak/repeats.py [--runs 20] [--model ID] [--engine E] [--probe NAME]` prints a line a run, and exits with 1 if
the last run leaves more than `SLACK` MiB above the third.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile

import psutil

import workbench as wb
from workbench.internals.engines import ENGINES

WARM = 3
SLACK = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--model", default="organism/attention-profile")
    parser.add_argument("--engine", default="hf", choices=ENGINES)
    parser.add_argument("--probe", default="attention-profile")
    arguments = parser.parse_args()
    if arguments.runs <= WARM:
        parser.error(f"--runs is above {WARM}: the first {WARM} fill caches")
    session, held = wb.load(arguments.model, arguments.engine), []
    for run in range(arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            wb.run(arguments.probe, session, preset="smoke", runs=folder, progress=False)
        gc.collect()
        held.append(psutil.Process().memory_info().rss / 2**20)
        print(f"run {run + 1}: {held[-1]:.0f} MiB", flush=True)
    grown = held[-1] - held[WARM - 1]
    print(f"{arguments.engine}: {grown:+.1f} MiB from run {WARM} to run {arguments.runs}")
    return int(grown > SLACK)


if __name__ == "__main__":
    sys.exit(main())
