"""Work done in a process of its own, so that it can be stopped at once and its memory comes back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..progress import Reporter

POLL = 0.2
"""Seconds between two looks at a child process."""


def run_python(
    arguments: Sequence[str],
    folder: Path,
    reporter: Reporter,
    look: Callable[[str], None],
    environment: Mapping[str, str],
) -> tuple[int, str]:
    """Run this Python with `arguments` in `folder` and return its exit status and what it printed.

    `look` is called with what was printed so far. The child is ended when the work is cancelled or interrupted.
    """
    log = folder / "child.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                reporter.check()
                look(log.read_text(encoding="utf-8", errors="replace"))
                time.sleep(POLL)
        except BaseException:
            process.kill()
            process.wait()
            raise
    return process.returncode, log.read_text(encoding="utf-8", errors="replace")
