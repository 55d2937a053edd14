"""The Triton kernels, compiled for GPUs that are not here: resources within limits and as recorded."""

import json
from typing import Any

import pytest

from tests.kernels.ahead_of_time import BASELINE, NAMES, reports

RECORDED = json.loads(BASELINE.read_text())


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return reports()


@pytest.mark.parametrize("name", NAMES)
def test_resources(name: str, found: dict[str, dict[str, Any]]) -> None:
    now, then = found[name], RECORDED[name]
    assert now["spill"] == 0
    assert now["shared"] <= 100 * 1024
    instruction = "wgmma.mma_async" if "sm90" in name else "mma.sync"
    assert now[instruction] > 0, "no tensor-core instructions"
    for resource in ("registers", "shared"):
        assert now[resource] <= 1.1 * then[resource], f"{resource}: {then[resource]} recorded, {now[resource]} now"


def test_every_variant_is_recorded() -> None:
    assert set(RECORDED) == set(NAMES)
