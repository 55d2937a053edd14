"""What the page of a probe shows of a job, whatever moment it ends at."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.dashboards.moments import Flipping
from tests.dashboards.server.test_job_queue import until
from tests.sample_runs import write_run
from workbench.dashboards.pages.probe import ProbePage
from workbench.dashboards.server.job_queue import Job, JobQueue
from workbench.dashboards.server.run_request import RunRequest
from workbench.probe.registry import PROBES
from workbench.records import results, store


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[JobQueue]:
    made = JobQueue(tmp_path)
    yield made
    made.close()


@pytest.fixture
def page(jobs: JobQueue) -> Iterator[ProbePage]:
    made = ProbePage(PROBES.get("head-roles"), jobs)
    yield made
    if made._ticking is not None and made._ticking.running:
        made._ticking.stop()


def asked() -> RunRequest:
    return RunRequest("head-roles", "organism/head-roles", preset="smoke")


def watch(page: ProbePage, job: Job) -> None:
    """Follow a job as the page does: look again as long as it keeps looking."""
    page._watch(job)
    for _ in range(50):
        if not page._ticking.running:
            return
        page._tell()
    raise AssertionError("the page never stops looking")


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_job_that_ends_between_two_looks_leaves_no_page_that_is_stuck(page: ProbePage, end: str) -> None:
    for reads in range(9):
        job = Flipping(reads, end, id=str(reads), owner="tab", asked=asked(), only_plan=False)  # type: ignore[arg-type]
        watch(page, job)
        assert not page._cancel.visible and not page._start.disabled and not page._plan.disabled, reads
        assert end.capitalize() in page._status.object and "<progress" not in page._status.object, reads


def test_a_job_that_had_ended_is_shown_and_not_looked_at_again(page: ProbePage) -> None:
    page._watch(Job("one", "tab", asked(), only_plan=False, state="failed", message="no such file"))
    assert "no such file" in page._status.object and not page._ticking.running


def test_why_a_job_failed_is_shown_though_an_input_changes_first(page: ProbePage) -> None:
    job = Job("one", "tab", asked(), only_plan=False, state="running")
    page._watch(job)
    job.state, job.message = "failed", "no such file"
    page._seed.put("1")
    page._tell()
    assert "no such file" in page._status.object and not page._ticking.running
    page._seed.put("2")
    assert page._status.object.strip() == ""


def test_stages_are_read_by_another_thread_than_the_one_that_serves_all(
    page: ProbePage, jobs: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jobs.runs / "a-run"
    attrs = {"units": "1", "description": "tokens"}
    data = xr.Dataset({"seen": ("token", np.arange(3), attrs)}, coords={"token": np.arange(3)})
    results.write_dataset(data, folder / store.STAGES / "first.zarr")
    readers: list[threading.Thread] = []
    read = results.read_dataset
    monkeypatch.setattr(results, "read_dataset", lambda path: readers.append(threading.current_thread()) or read(path))
    page._watch(Job("one", "tab", asked(), only_plan=False, state="running", run="a-run"))
    until(lambda: page._tell() or "3 token" in page._status.object)
    assert len(readers) == 1 and readers[0] is not threading.main_thread()


def test_the_page_reads_the_records_of_its_own_probe_alone(jobs: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [write_run(jobs.runs) for _ in range(2)]
    for name in mine:
        shutil.copytree(jobs.runs / name, jobs.runs / name.replace("head-roles", "another-probe"))
    looked: list[str] = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda folder: looked.append(folder.name) or read(folder))
    ProbePage(PROBES.get("head-roles"), jobs)
    assert sorted(looked) == sorted(mine)
