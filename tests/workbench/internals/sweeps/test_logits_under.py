"""Logits under many edits against a run for each, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import Cancelled, UsageError
from workbench.progress import Progress, Reporter

if TYPE_CHECKING:
    from workbench.internals.session import Session

ROW = [5, 17, 3, 44, 9, 58, 23]
EDITS = {
    "late head": wb.edits.set("z.1.2", 0.0),
    "two": [wb.edits.scale("resid_post.0", 2.0, positions=[3]), wb.edits.set("z.1.0", 0.5)],
    "none": [],
    "unseen": wb.edits.knock_out(queries=[-1], keys=[1]),
}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def session(request: pytest.FixtureRequest) -> Session:
    return wb.load(tiny(request.param, torch.float64))


@pytest.mark.parametrize("positions", [None, [-1, 2, 4, 2]])
@pytest.mark.parametrize("rows", [[ROW], [ROW, ROW[::-1]]])
def test_each_is_what_a_run_of_its_own_gives(session: Session, positions: list[int] | None, rows: list) -> None:
    found = session.logits_under(rows, EDITS, positions)
    assert list(found) == list(EDITS)
    for name, made in EDITS.items():
        torch.testing.assert_close(found[name], session.logits(rows, positions, made), rtol=1e-9, atol=1e-9)


def test_rows_of_different_lengths_are_read_from_their_ends(session: Session) -> None:
    rows = [ROW, ROW[2:]]
    cut = {"cut": wb.edits.set("z.0.1", 0.0)}
    expected = session.logits(rows, [-1], cut["cut"])
    torch.testing.assert_close(session.logits_under(rows, cut, [-1])["cut"], expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(UsageError, match="different lengths"):
        session.logits_under(rows, cut)


def test_progress_counts_edits_and_stops(session: Session) -> None:
    seen: list[Progress] = []
    session.logits_under([ROW, ROW], EDITS, progress=Reporter(seen.append))
    assert (seen[-1].done, seen[-1].total) == (8, 8)
    stopped = Reporter()
    stopped.cancelled.set()
    with pytest.raises(Cancelled):
        session.logits_under(ROW, EDITS, progress=stopped)


def test_steps_of_a_call_count_within_a_stage() -> None:
    seen: list[Progress] = []
    part = Reporter(seen.append).parts(6, "all")
    for before in (0, 3):
        for _ in part(before).steps(range(3), "some"):
            pass
    assert [step.done for step in seen] == [0, 1, 2, 3, 3, 4, 5, 6]
    assert {(step.stage, step.total) for step in seen} == {("all", 6)} and seen[0].eta is None and seen[-1].eta == 0
