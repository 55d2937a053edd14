"""What the page of a live view shows of a question, whatever moment its answer comes at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboards.moments import Flipping
from workbench.dashboards.pages.live import LivePage, probes_with_live_view
from workbench.dashboards.server.job_queue import JobQueue
from workbench.dashboards.server.live_requests import LiveRequest


@pytest.fixture
def page(tmp_path: Path) -> Iterator[LivePage]:
    jobs = JobQueue(tmp_path)
    yield LivePage(*probes_with_live_view()["context-knob"], jobs)
    jobs.close()


def test_a_question_that_ends_between_two_looks_leaves_no_progress_beside_its_end(page: LivePage) -> None:
    for reads in range(9):
        question = LiveRequest(page._asking)
        job = Flipping(reads, "failed", id=str(reads), owner="tab", asked=question, only_plan=False, message="broken")
        page._job = job
        looks = 0
        while page._job is not None:
            page._tell()
            looks += 1
            assert looks < 50
        assert "<progress" not in page._status.object and "broken" in page._status.object, reads
        assert not page._cancel.visible
