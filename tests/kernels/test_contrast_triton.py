"""The contrast kernels in Triton's interpreter, and compiled for GPUs that are not here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.ahead_of_time import ARCHITECTURES
from tests.kernels.contrast_ahead_of_time import BASELINE, VARIANTS, report

HERE = Path(__file__).parent


def test_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "contrast_interpreter_checks.py"]
    done = subprocess.run(
        command, cwd=HERE, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_resources(variant: str, arch: int) -> None:
    now, then = report(variant, arch), json.loads(BASELINE.read_text())[f"{variant}-sm{arch}"]
    assert now["spill"] == 0
    assert now["shared"] <= 100 * 1024
    for resource in ("registers", "shared"):
        assert now[resource] <= 1.1 * then[resource], f"{resource}: {then[resource]} recorded, {now[resource]} now"
