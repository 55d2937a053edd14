"""What a probe's page shows of a run that ended."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.dashboards.components.run_result import run_result
from workbench.reports.headlines import label


def words(parts: list[Any]) -> str:
    """All HTML of the parts that are drawn from templates."""
    return " ".join(
        part.object for one in parts for part in one.select() if isinstance(getattr(part, "object", None), str)
    )


@pytest.mark.parametrize("probe", ["roles", "profile", "knob"])
def test_every_probe_shows_its_first_figure(viewed: dict[str, Any], probe: str) -> None:
    run = viewed[probe]
    figure = run.figures[next(iter(run.figures))]
    said = words(run_result(run.folder))
    assert figure.title in said and run.headline and all(label(name) in said for name in run.headline)


def test_two_runs_are_beside_each_other(viewed: dict[str, Any]) -> None:
    run, other = viewed["profile"], viewed["long"]
    said = words(run_result(run.folder, other.id))
    assert all(one.figures[next(iter(one.figures))].title in said for one in (run, other))
    assert f"/run/{other.id}" in said and f"/compare?runs={other.id},{run.id}" in said


@pytest.mark.parametrize("against", ["../elsewhere", "nope", ".."])
def test_a_run_that_is_not_there_is_not_compared(viewed: dict[str, Any], against: str) -> None:
    said = words(run_result(viewed["profile"].folder, against))
    assert f"there is no run {against} in this folder" in said and viewed["profile"].summary[0] in said
