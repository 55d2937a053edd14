"""Every endurance run in this folder, one after the other; `make soak`. The exit status is 1 if any of them failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RUNS = (
    ("kills.py", "--kills", "100"),
    *(("repeats.py", "--engine", engine) for engine in ("hf", "transformerlens", "nnsight")),
    ("pages.py", "--cycles", "200"),
)


def main() -> int:
    failed = []
    for script, *arguments in RUNS:
        print(f"{script} {' '.join(arguments)}", flush=True)
        if subprocess.run([sys.executable, str(HERE / script), *arguments]).returncode:
            failed.append(script)
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
