"""Kill runs at random moments and see that every record can be read, no half file is left, and each run can go on.

Run as `python soak/kills.py [--kills 100] [--seed 0]`; the exit status is 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import workbench as wb
from workbench.records import heartbeat, results, store
from workbench.records.file_hashes import verify

SIZE = 20_000
"""Numbers of each stage, as the nursery makes them."""
ROOT = Path(__file__).parents[1]
WRITTEN = {"data.zarr", "tables", "tensors.safetensors", "figures"}
ALLOWED = {store.RECORD, store.STAGES, store.NOTES, heartbeat.FILE, *WRITTEN}


class Nursery:
    """Starts runs in children of one loaded process."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "soak" / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._expect("ready")

    def _expect(self, word: str) -> str:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line.startswith(word):
            raise SystemExit(f"the nursery said {line!r} instead of {word!r}")
        return line.removeprefix(word).strip()

    def run(self, request: str, kill_after: float | None = None) -> None:
        """Let a child serve a request; kill it after some seconds, if it lasts that long."""
        self._process.stdin.write(request + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        pid = int(self._expect("pid"))
        if kill_after is not None:
            time.sleep(kill_after)
            # The nursery reaps a child that has ended; its number may then be anyone's, so ask whose it is.
            if _child_of(pid, self._process.pid):
                os.kill(pid, signal.SIGKILL)
        self._expect("end")

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()


def _child_of(pid: int, parent: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).ppid() == parent
    except psutil.NoSuchProcess:
        return False


def half_files(folder: Path, seed: int) -> list[str]:
    """What of a run's folder is there and is not whole."""

    def expected(index: int) -> np.ndarray:
        return np.random.default_rng([seed, index]).normal(size=SIZE)

    wrong = [
        f"{folder.name}/{path.name} is not a part of a run" for path in folder.iterdir() if path.name not in ALLOWED
    ]
    try:
        for stage in folder.glob("stages/*"):
            found = results.read_dataset(stage).value.values
            if not np.array_equal(found, expected(int(stage.stem.rpartition("-")[2]))):
                wrong.append(f"{stage} holds other numbers")
        if (folder / "data.zarr").exists():
            for index, row in enumerate(results.read_tree(folder / "data.zarr")["value"].values):
                if not np.array_equal(row, expected(index)):
                    wrong.append(f"{folder}/data.zarr holds other numbers")
        if (folder / "tensors.safetensors").exists():
            from safetensors.numpy import load_file

            load_file(folder / "tensors.safetensors")
        if (folder / "figures").exists():
            from workbench.figures import load

            load(folder / "figures" / "means.json")
            if {path.suffix for path in (folder / "figures").iterdir()} != {".json", ".svg", ".png"}:
                wrong.append(f"{folder}/figures lacks a file")
    except Exception as error:
        wrong.append(f"{folder}: {type(error).__name__}: {error}")
    return wrong


def soak(kills: int, seed: int, runs: Path) -> list[str]:
    """Kill, look, resume; returns everything that was wrong."""
    nursery, chance, wrong = Nursery(), random.Random(seed), []
    outcomes: Counter[str] = Counter()
    try:
        nursery.run(f"run {runs} 0")
        start = time.monotonic()
        nursery.run(f"run {runs} 0")
        length = time.monotonic() - start
        for path in store.listing(runs).records:
            assert path.status == "success", path.status
        seen = {path.name for path in runs.iterdir()}
        for number in range(1, kills + 1):
            nursery.run(f"run {runs} {number}", kill_after=chance.uniform(0, 1.1 * length))
            new = [path for path in runs.iterdir() if path.name not in seen]
            seen.update(path.name for path in new)
            if not new:
                outcomes["killed before it began"] += 1
            for folder in new:
                record = store.read(folder)
                outcomes[record.status] += 1
                if record.status not in ("interrupted", "success"):
                    wrong.append(f"{folder.name} reads {record.status!r}")
                wrong += half_files(folder, number)
                if record.status == "interrupted":
                    nursery.run(f"resume {runs} {folder.name}")
                run = wb.open(folder)
                if run.status != "success" or verify(folder, run.typed_record) or half_files(folder, number):
                    wrong.append(f"{folder.name} did not go on: {run.status}")
            if number % 10 == 0:
                print(f"{number} of {kills} kills", file=sys.stderr, flush=True)
        for path in runs.glob(".partial/*"):
            # One killed before its first heartbeat cannot be told from one being made, until it is as old as this.
            os.utime(path, (0, 0))
        store.sweep_dead(runs)
        listing = store.listing(runs)
        wrong += [str(one.reason) for one in listing.unreadable]
        wrong += [f"{path} was left" for path in runs.glob(".partial/*")]
    finally:
        nursery.close()
    said = ", ".join(f"{count} {status}" for status, count in sorted(outcomes.items()))
    print(f"{kills} kills: {said}; {len(wrong)} wrong")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = soak(given.kills, given.seed, Path(folder))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
