"""The sign of life of a running run: a file that a background thread touches while the process lives."""

from __future__ import annotations

import functools
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

FILE = "heartbeat"
INTERVAL = 1.0
"""Seconds between two beats."""
STALE = 60.0
"""Seconds without a beat after which a run is taken for dead; long enough for a thread that holds the interpreter."""
_SAMPLE = 0.05
"""Seconds between two readings of the process's memory."""


@functools.cache
def _boot() -> str:
    """What tells two starts of one machine apart."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else str(int(psutil.boot_time()))


def identity() -> dict[str, object]:
    """What names this process among all that may have written into a folder."""
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "boot": _boot(), "born": psutil.Process(pid).create_time()}


def alive(folder: Path) -> bool:
    """Whether the process that runs in this folder lives.

    On the machine that wrote it the process itself is looked for; from elsewhere only the age of the last beat tells.
    """
    path = folder / FILE
    try:
        owner = json.loads(path.read_text())
        fresh = time.time() - path.stat().st_mtime < STALE
    except (OSError, ValueError):
        return False
    if not fresh or not isinstance(owner, dict):
        return False
    if owner.get("host") != socket.gethostname():
        return True
    if owner.get("boot") != _boot():
        return False
    try:
        process = psutil.Process(int(owner["pid"]))
        return abs(process.create_time() - float(owner["born"])) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


class Heart:
    """Beats for one run and samples the memory of the process meanwhile.

    `lost` is called once if another process has taken the folder over.
    """

    def __init__(self, folder: Path, lost: Callable[[], None]) -> None:
        self.peak_bytes = 0
        self.taken = False
        """Whether the folder no longer belongs to this run."""
        self._path = folder / FILE
        self._lost = lost
        self._mine = json.dumps({**identity(), "thread": threading.get_ident()})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"heartbeat-{folder.name}", daemon=True)

    def words(self) -> str:
        """What the file holds while this run lives."""
        return self._mine

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and remove the file if it is still this run's."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._owned():
            self._path.unlink(missing_ok=True)

    def _owned(self) -> bool:
        try:
            return self._path.read_text() == self._mine
        except OSError:
            return False

    def _touch(self) -> bool:
        try:
            if not self._owned():
                return False
            os.utime(self._path)
        except OSError:
            return False
        return True

    def _live(self) -> None:
        process, last = psutil.Process(), 0.0
        while True:
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
            if time.monotonic() - last >= INTERVAL:
                last = time.monotonic()
                if not self._touch():
                    self.taken = True
                    self._lost()
                    return
            if self._stop.wait(_SAMPLE):
                return
