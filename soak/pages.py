"""Pages opened and closed two hundred times on one server: its memory and threads stay flat, its sessions end.

`python soak/pages.py [--cycles 200]` opens the home, a probe's page and a run's page in turn in a real Chromium, prints
a line every `EVERY` cycles, and exits with 1 if the server has grown by more than `SLACK` MiB since the first `WARM`
cycles, has more threads than then, or keeps a session.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.chromium import CHROMIUM, FLAGS, free_port  # noqa: E402

PROBE = "attention-profile"
WARM, EVERY = 40, 20
SLACK = 40.0
ABSENCE = 2
"""Seconds after which the server lets go of a tab that was closed."""


def cycle(context: Any, address: str) -> None:
    """Open a page, wait until its heading is there, and close it."""
    page = context.new_page()
    page.goto(address, timeout=120_000)
    page.locator("h1").first.wait_for(timeout=120_000)
    page.close()


class Server:
    """The pages in a process of their own, which says how it is when asked."""

    def __init__(self, runs: Path) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(runs), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.look()  # it answers once it serves

    def look(self) -> dict[str, float]:
        """Resident MiB after a collection of garbage, threads, and live sessions."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("look\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith("{"):
            if not line:
                raise SystemExit("the server of the pages has died")
            print(line, end="", file=sys.stderr)  # a word of Panel's
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def _serve(runs: str, port: str) -> None:
    import psutil

    from workbench.dashboards import serve
    from workbench.dashboards.server.limits import Limits

    served = serve(runs, int(port), threaded=True, limits=Limits(absence=ABSENCE))
    for _ in sys.stdin:
        gc.collect()
        here = psutil.Process()
        sessions = len(served.server.get_sessions())
        said = {"mib": here.memory_info().rss / 2**20, "threads": here.num_threads(), "sessions": sessions}
        print(json.dumps(said), flush=True)
    served.stop()


def soak(cycles: int, runs: Path, run: str) -> list[str]:
    """Open and close, look, and say everything that was wrong."""
    from playwright.sync_api import sync_playwright

    server, paths = Server(runs), ("/", f"/probe/{PROBE}", f"/run/{run}")
    looks = []
    print("| cycles | server, MiB | threads | sessions |\n|---|---|---|---|")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            context = browser.new_context()
            for number in range(1, cycles + 1):
                cycle(context, server.address + paths[number % len(paths)])
                if number % EVERY == 0 or number == cycles:
                    looks.append((number, server.look()))
                    print("| {} | {mib:.0f} | {threads} | {sessions} |".format(number, **looks[-1][1]), flush=True)
            browser.close()
        end = time.monotonic() + ABSENCE + 60
        while (last := server.look())["sessions"] and time.monotonic() < end:
            time.sleep(1)
        print("| all closed | {mib:.0f} | {threads} | {sessions} |".format(**last))
    finally:
        server.close()
    warm = next(look for number, look in looks if number >= WARM)
    wrong = []
    if (grown := last["mib"] - warm["mib"]) > SLACK:
        wrong.append(f"the server has grown by {grown:.0f} MiB since cycle {WARM}")
    if last["threads"] > warm["threads"]:
        wrong.append(f"{last['threads']} threads, and {warm['threads']} after cycle {WARM}")
    if last["sessions"]:
        wrong.append(f"{last['sessions']} sessions of closed tabs are left")
    print(f"{cycles} cycles: {grown:+.1f} MiB since cycle {WARM}; {len(wrong)} wrong")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--serve", nargs=2, metavar=("RUNS", "PORT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve(*arguments.serve)
        return 0
    if arguments.cycles <= WARM:
        parser.error(f"--cycles is above {WARM}: the first {WARM} fill caches")
    import workbench as wb

    with tempfile.TemporaryDirectory() as folder:
        run = wb.run(PROBE, f"organism/{PROBE}", preset="smoke", runs=folder, progress=False)
        wrong = soak(arguments.cycles, Path(folder), run.id)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
