"""Runs that reports are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sample_reports import FakeRun, sample_run


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return sample_run(tmp_path / "run")


@pytest.fixture
def small(tmp_path: Path) -> FakeRun:
    """A run with one figure."""
    run = sample_run(tmp_path / "run")
    run.figures = {"ablation": run.figures["ablation"]}
    return run
