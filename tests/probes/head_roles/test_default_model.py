"""Head roles on the default model: what others have seen there must be seen again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from workbench.probes.head_roles.summary import named


@pytest.mark.model
def test_few_heads_copy_and_recall_needs_them(default_model: Any, tmp_path: Path) -> None:
    run = wb.run("head-roles", default_model, preset="smoke", runs=tmp_path)
    heads = run.data["heads"].to_dataset()
    assert {(17, 3), (18, 6), (18, 7)} <= set(named(heads))
    lines = {line["name"]: line["value"] for line in run.record["headline"]}
    assert 0.02 < lines["retrieval_head_share"] < 0.12
    assert lines["needle_recall"] > 0.5
    assert lines["needle_recall_top_ablated"] < lines["needle_recall_random_ablated"]
    assert any("4-bit" in limit or "4_1" in limit for limit in run.record["limits"])
