"""Faults: kills, signals, a full disk, a lost folder. Each leaves readable records and loses nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.records import store
from workbench.records.file_hashes import verify
from workbench.runs import execute, prepare

ROOT = Path(__file__).parents[3]


def test_ten_kills_at_random_moments_lose_nothing():
    done = subprocess.run(
        [sys.executable, str(ROOT / "soak" / "kills.py"), "--kills", "10", "--seed", str(time.time_ns())],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"10 kills: .*; 0 wrong\n", done.stdout)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of this many bytes, or, where none may be mounted, a limit on the size of each file."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    ).returncode
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if mounted != 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 8, before[1]))
    try:
        yield
    finally:
        if mounted == 0:
            subprocess.run(["umount", str(folder)], check=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_clear_error_and_loses_nothing_else(session, at):
    """With ever less room left: an earlier run stays whole, and what was begun is readable and goes on later."""
    prepared = prepare.prepare("mean-logits", session, "smoke")
    failed, begun = 0, 0
    with small_disk(at, 2**20):
        whole = execute.execute(prepared, at / "runs")
        filler = at / "filler"
        for room in (0, 4, 12, 24, 48, 96):
            files = os.statvfs(at)
            with filler.open("wb") as file:
                for _ in range(max(0, files.f_bavail * files.f_frsize // 1024 - room)):
                    file.write(b"x" * 1024)
            started: list[Path] = []
            try:
                execute.execute(prepared, at / "runs", started=started.append)
            except WorkbenchError as error:
                failed += 1
                assert "the disk is full" in str(error)
            assert verify(whole, wb.open(whole).typed_record) == []
            assert store.listing(at / "runs").unreadable == []
            filler.unlink()
            for folder in started:
                if wb.open(folder).status != "success":
                    begun += 1
                    assert wb.open(folder).status in ("error", "interrupted")
                    execute.execute(prepared, at / "runs", resume=folder)
                assert verify(folder, wb.open(folder).typed_record) == []
                subprocess.run(["rm", "-r", str(folder)], check=True)
    assert failed >= 3 and begun >= 1


def test_a_folder_that_vanishes_ends_the_run_with_a_clear_error(session, at):
    def remove(folder: Path) -> None:
        subprocess.run(["rm", "-r", str(folder)], check=True)

    with pytest.raises(WorkbenchError, match="is gone"):
        execute.execute(prepare.prepare("mean-logits", session, "smoke"), at, started=remove)
    assert [path.name for path in at.iterdir()] == [".partial"]


def wait_for(happened: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_recorded_as_cancelled_and_the_run_goes_on(at, tiny_folder, environment, cli, number):
    words = ["run", "mean-logits", "--model", str(tiny_folder), "--set", "pause=0.3", "--set", "n=20"]
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        cwd=at,
        # Whatever runs these tests may have had its interrupts switched off, as a shell does in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: list(at.glob("runs/*/stages/*")), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    (record,) = store.listing(at / "runs").records
    assert process.returncode == 1 and out == ""
    assert err.splitlines()[-1].startswith("workbench: stopped; `workbench run --resume")
    assert record.status == "cancelled" and "Traceback" not in err
    if number == signal.SIGTERM:
        # The pause is a setting, so it must be as it was; 20 stages of 0.3 s, less what was finished.
        assert cli("run", "--resume", record.id, "--set", "pause=0.3").status == 0
        assert wb.open(at / "runs" / record.id).status == "success"


def test_a_killed_command_reads_interrupted(at, tiny_folder, environment, cli):
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", "run", "mean-logits", "--model", str(tiny_folder), "--set", "pause=60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        cwd=at,
    )
    wait_for(lambda: list(at.glob("runs/*/record.json")), process)
    assert '"started"' in cli("runs", "--json").out
    process.kill()
    process.wait()
    listed = cli("runs")
    assert listed.status == 0 and "interrupted" in listed.out
    process.communicate()
