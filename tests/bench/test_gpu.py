"""The script that checks the kernels on a GPU: it checks every statistic, and one that is wrong does not pass."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.kernels import AttentionStats
from workbench.kernels.result import OF_A_RUN


@pytest.fixture
def script() -> ModuleType:
    """`bench/gpu.py`, which is a script and no part of the package."""
    spec = importlib.util.spec_from_file_location("bench_gpu", Path(__file__).parents[2] / "bench" / "gpu.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("variant", ["causal", "left padding", "learned sink"])
def test_every_statistic_is_checked_and_right(script: ModuleType, variant: str) -> None:
    found = script.check("cpu", "cpu", torch.float32, 64, variant)
    assert found["errors"].keys() == {field.name for field in dataclasses.fields(AttentionStats)} - {*OF_A_RUN}
    assert found["wrong"] == [] and found["same bits"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("argmax", lambda index: (index - 1).clamp(min=-1)),
        ("argmax", lambda index: torch.full_like(index, -1)),
        ("topk_index", lambda index: index.roll(1, 3)),
        ("topk_weight", lambda weight: 1.001 * weight),
        ("weights_at", lambda weight: weight.roll(1, 2)),
        ("received", lambda sums: sums + 0.1),
    ],
)
def test_a_statistic_that_is_wrong_is_named(
    script: ModuleType, name: str, change: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = script.attention_stats

    def wrong(*given: Any, **options: Any) -> AttentionStats:
        found = right(*given, **options)
        if options["backend"] == "reference":
            return found
        return dataclasses.replace(found, **{name: change(getattr(found, name))})

    monkeypatch.setattr(script, "attention_stats", wrong)
    assert script.check("cpu", "cpu", torch.float32, 64, "causal")["wrong"] == [name]
