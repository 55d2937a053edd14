"""The queue of the pages: order, limits, cancel, errors in a line, and what is left when the server dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dashboards import slow_probe
from workbench.dashboards.server.job_queue import Job, JobQueue
from workbench.dashboards.server.limits import Limits
from workbench.dashboards.server.run_request import RunRequest
from workbench.dashboards.server.session_pool import SessionPool
from workbench.errors import UnknownName, UsageError, WorkbenchError
from workbench.records import store

MODEL = "organism/attention-profile"
Make = Callable[..., JobQueue]


@pytest.fixture(scope="module")
def shelf() -> Iterator[SessionPool]:
    """Models that all tests of this file share."""
    shared = SessionPool(2)
    yield shared
    shared.close()


@pytest.fixture
def make(tmp_path: Path, shelf: SessionPool) -> Iterator[Make]:
    """Makes a queue over a folder of runs, and stops it after the test."""
    slow_probe.register()
    made: list[tuple[JobQueue, SessionPool]] = []

    def jobs(shared: bool = True, **limits: int) -> JobQueue:
        one = JobQueue(tmp_path / "runs", Limits(**limits))  # type: ignore[arg-type]
        made.append((one, one.shelf))
        if shared:
            one.shelf = shelf
        return one

    yield jobs
    for one, own in made:
        one.shelf = own
        one.close()
    slow_probe.forget()


def ask(**given: object) -> RunRequest:
    return RunRequest("slow", MODEL, preset="smoke", given=given)


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(job: Job) -> str:
    until(lambda: job.ended)
    return job.state


def test_a_run_is_planned_done_and_kept(make: Make) -> None:
    jobs = make()
    job = jobs.submit(ask(), "tab")
    assert (ended(job), job.message) == ("done", "")
    assert job.plan is not None and job.plan.passes == 2
    record = store.read(jobs.runs / str(job.run))
    assert record.status == "success" and record.model.id == MODEL
    assert jobs.active() == []


def test_a_plan_starts_nothing_and_goes_before_runs(make: Make) -> None:
    jobs = make()
    first = jobs.submit(ask(n=50, pause=0.05), "tab")
    until(lambda: first.state == "running")
    run, plan = jobs.submit(ask(), "tab"), jobs.submit(ask(), "tab", only_plan=True)
    assert [jobs.look(job).ahead for job in (first, plan, run)] == [0, 1, 2]
    jobs.cancel(first)
    assert ended(plan) == "done" and plan.run is None and ended(run) == "done"


def test_one_model_is_loaded_once_and_the_oldest_makes_room(make: Make) -> None:
    jobs = make(shared=False, models=1)
    first = jobs.shelf.get(MODEL)
    assert jobs.shelf.get(MODEL) is first and jobs.shelf.loaded(MODEL)
    jobs.shelf.get("organism/head-roles")
    assert not jobs.shelf.loaded(MODEL)
    with pytest.raises(WorkbenchError, match="closed"):
        first.model  # noqa: B018


def test_a_running_job_stops_between_two_steps_and_its_record_says_so(make: Make) -> None:
    jobs = make()
    job = jobs.submit(ask(n=500, pause=0.02), "tab")
    until(lambda: job.state == "running" and job.progress is not None and job.progress.done > 2)
    assert job.progress is not None and job.progress.total == 500 and job.progress.eta is not None
    start = time.monotonic()
    jobs.cancel(job)
    assert ended(job) == "cancelled" and time.monotonic() - start < 5
    assert store.read(jobs.runs / str(job.run)).status == "cancelled"
    again = jobs.submit(RunRequest.again(store.read(jobs.runs / str(job.run)), resume=True), "tab")
    until(lambda: again.state == "running")
    jobs.cancel(again)
    assert ended(again) == "cancelled" and again.run == job.run


def test_a_waiting_job_is_cancelled_at_once(make: Make) -> None:
    jobs = make()
    first, second = jobs.submit(ask(n=500, pause=0.02), "a"), jobs.submit(ask(), "b")
    jobs.cancel(second)
    assert second.state == "cancelled" and second.run is None
    jobs.cancel(first)


def test_leaving_cancels_the_jobs_of_that_tab_only(make: Make) -> None:
    jobs = make()
    mine, theirs = jobs.submit(ask(n=500, pause=0.02), "mine"), jobs.submit(ask(), "theirs")
    jobs.cancel_owner("mine")
    assert ended(mine) == "cancelled" and ended(theirs) == "done"


def test_a_page_that_is_loaded_again_keeps_its_job(make: Make) -> None:
    jobs = make()
    job = jobs.submit(ask(n=20, pause=0.02), "before")
    assert jobs.reassign(job.id, "after") is job and jobs.reassign("unknown", "after") is None
    jobs.cancel_owner("before")
    assert ended(job) == "done"


def test_queue_and_tab_have_limits(make: Make) -> None:
    jobs = make(queue=3, own=2)
    for owner in ("a", "a", "b"):
        jobs.submit(ask(n=500, pause=0.02), owner)
    with pytest.raises(WorkbenchError, match="3 jobs wait or run already"):
        jobs.submit(ask(), "c")
    jobs.cancel(jobs.active()[-1])
    with pytest.raises(WorkbenchError, match="2 jobs of this tab"):
        jobs.submit(ask(), "a")


def test_what_cannot_be_run_is_refused_before_it_waits(make: Make) -> None:
    jobs = make()
    with pytest.raises(UnknownName, match="no model on these pages"):
        jobs.submit(RunRequest("slow", "/etc"), "tab")
    with pytest.raises(UnknownName, match="no adapter on these pages"):
        jobs.submit(RunRequest("slow", MODEL, adapter="../x"), "tab")
    with pytest.raises(UsageError, match="'n'"):
        jobs.submit(ask(n=0), "tab")
    with pytest.raises(UnknownName, match="probe"):
        jobs.submit(RunRequest("fast", MODEL), "tab")
    assert jobs.active() == []


def test_over_budget_is_refused_with_settings_that_fit(make: Make) -> None:
    jobs = make(memory=4_000_000)
    job = jobs.submit(ask(length=30_000), "tab")
    assert ended(job) == "refused" and job.run is None and job.plan is not None
    assert job.refusal is not None and "--" not in job.message
    assert any(one.setting == "length" and one.value < 30_000 for one in job.refusal.smaller)
    assert all(one.bytes <= 4_000_000 < job.refusal.needed for one in job.refusal.smaller)
    assert not jobs.runs.exists()


def test_a_prompt_that_is_too_long_is_refused(make: Make) -> None:
    jobs = make(prompt_tokens=100)
    job = jobs.submit(ask(length=101), "tab", only_plan=True)
    assert ended(job) == "refused" and "a prompt of 101 tokens is longer than the 100" in job.message


def test_an_error_is_one_line_and_the_next_job_goes_on(make: Make) -> None:
    jobs = make()
    broken, next_one = jobs.submit(ask(fails=True), "tab"), jobs.submit(ask(), "tab")
    assert ended(broken) == "failed"
    assert broken.message.startswith("RuntimeError: broken in the middle") and "\n" not in broken.message
    assert store.read(jobs.runs / str(broken.run)).status == "error"
    assert ended(next_one) == "done"


def test_a_bug_before_the_run_begins_is_told_in_the_log_with_its_traceback(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def work(self: object, session: object, config: object) -> object:
        raise IndexError("no such pass")

    monkeypatch.setattr(slow_probe.Slow, "work", work)
    job = make().submit(ask(), "tab")
    assert ended(job) == "failed" and job.message == "IndexError: no such pass"
    assert "a job of slow on organism/attention-profile failed" in caplog.text
    assert "in work" in caplog.text and "Traceback" not in job.message


def test_what_one_line_explains_leaves_no_traceback(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    job = make(memory=4_000_000).submit(ask(length=30_000), "tab")
    assert ended(job) == "refused" and "Traceback" not in caplog.text


def test_closing_cancels_and_nothing_is_taken_on_after_it(make: Make) -> None:
    jobs = make()
    job = jobs.submit(ask(n=500, pause=0.02), "tab")
    until(lambda: job.state == "running")
    jobs.close()
    assert job.state == "cancelled"
    with pytest.raises(WorkbenchError, match="stopping"):
        jobs.submit(ask(), "tab")
