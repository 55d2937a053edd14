"""Every benchmark in this folder, as Markdown on stdout and JSON in `bench/results/`; `make bench`.

The exit status is 1 if any of them failed. `bench/gpu.py` is for a machine with a GPU and runs by itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("capture.py", "sweeps.py", "kernels.py", "contrast.py", "long_runs.py", "pages.py", "probes.py")


def main() -> int:
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    failed = []
    for script in SCRIPTS:
        output = results / script.replace(".py", ".json")
        if subprocess.run([sys.executable, str(HERE / script), "--json", str(output), *sys.argv[1:]]).returncode:
            failed.append(script)
        print(flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
