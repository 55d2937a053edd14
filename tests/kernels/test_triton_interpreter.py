"""Runs `interpreter_checks.py` where Triton's interpreter is on: it must be chosen before the kernels are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workbench.kernels import attention_stats, streaming_attention

HERE = Path(__file__).parent


@pytest.mark.parametrize("part", ["float32", "not float32"])
def test_interpreter(part: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", part, "interpreter_checks.py"]
    done = subprocess.run(
        command, cwd=HERE, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_without_a_gpu_the_reason_is_given() -> None:
    x = torch.zeros(1, 1, 4, 32)
    with pytest.raises(RuntimeError, match="needs a CUDA device"):
        attention_stats(x, x, backend="triton")
    with pytest.raises(RuntimeError, match="needs a CUDA device"):
        streaming_attention(x, x, x, sink=1, recent=2, backend="triton")
