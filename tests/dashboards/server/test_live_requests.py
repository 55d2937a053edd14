"""Live views in the queue: checked before they wait, before runs, given up when they are old, and answered once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards import slow_probe
from tests.dashboards.server.test_job_queue import ended, until
from workbench.dashboards.server import live_requests
from workbench.dashboards.server.job_queue import JobQueue
from workbench.dashboards.server.limits import Limits
from workbench.dashboards.server.live_requests import LiveCache, LivePrompt, LiveRequest
from workbench.dashboards.server.run_request import RunRequest
from workbench.errors import UnknownName, UsageError
from workbench.internals.session import Session
from workbench.probe.live_view import LONGEST, Answer, SliderRange, SteeredPrompt
from workbench.records import store

MODEL = "organism/context-knob"
TEXTS = (("context", "The capital of France is Oslo."), ("query", "The capital of France is"))


@pytest.fixture
def jobs(viewed: dict[str, Any], tmp_path: Path) -> Iterator[JobQueue]:
    """A queue over a folder with a run that learnt a knob."""
    slow_probe.register()
    shutil.copytree(viewed["knob"].folder, tmp_path / viewed["knob"].id)
    made = JobQueue(tmp_path, Limits(live_tokens=40))
    yield made
    made.close()
    slow_probe.forget()


@pytest.fixture
def asking(viewed: dict[str, Any]) -> LivePrompt:
    return LivePrompt("context-knob", MODEL, None, viewed["knob"].id, TEXTS)


def test_a_prompt_is_begun_and_every_value_asked_once(
    jobs: JobQueue, asking: LivePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jobs.turnings.get(asking) is None
    first = jobs.submit(LiveRequest(asking), "tab")
    assert (ended(first), first.message) == ("done", "") and first.progress is not None
    turning = jobs.turnings.get(asking)
    assert turning is not None and turning.said[turning.scale.marks["prior"]].text == "Paris"
    assert ended(jobs.submit(LiveRequest(asking, 0.5), "tab")) == "done" and turning.said[0.5].text
    monkeypatch.setattr(Session, "generate", None)
    assert ended(jobs.submit(LiveRequest(asking, 0.5), "another tab")) == "done"
    assert ended(jobs.submit(LiveRequest(asking, 0.6), "tab")) == "failed"


def test_it_goes_before_runs_and_an_old_question_is_given_up(jobs: JobQueue, asking: LivePrompt) -> None:
    going = jobs.submit(RunRequest("slow", MODEL, given={"n": 500, "pause": 0.02}), "a")
    until(lambda: going.state == "running")
    run = jobs.submit(RunRequest("slow", MODEL, preset="smoke"), "b")
    old = jobs.submit(LiveRequest(asking, 0.5), "c")
    assert [jobs.look(job).ahead for job in (going, old, run)] == [0, 1, 2]
    jobs.cancel(old)
    assert old.state == "cancelled"
    new = jobs.submit(LiveRequest(asking, -0.5), "c")
    jobs.cancel(going)
    assert ended(new) == "done" and ended(run) == "done"
    turning = jobs.turnings.get(asking)
    assert turning is not None and -0.5 in turning.said and 0.5 not in turning.said


def test_what_cannot_be_asked_is_refused_before_it_waits(jobs: JobQueue, asking: LivePrompt) -> None:
    def refused(kind: type[Exception], match: str, **changed: Any) -> None:
        with pytest.raises(kind, match=match):
            jobs.submit(LiveRequest(LivePrompt(**{**vars(asking), **changed})), "tab")

    refused(UsageError, "'../x' is not there for organism/context-knob; there is: run of", source="../x")
    refused(UsageError, "what ships is not there", source="")
    refused(UsageError, "no knob for organism/head-roles", model="organism/head-roles")
    refused(UsageError, "slow has no live view", probe="slow")
    refused(UnknownName, "no model on these pages", model="/etc")
    refused(UnknownName, "no text of this view", texts=(("query", "x"),))
    refused(UsageError, f"are more than the {LONGEST}", texts=(("context", "x" * (LONGEST + 1)), ("query", "x")))
    assert jobs.active() == []


def test_asking_reads_the_run_that_it_names_and_no_other(
    jobs: JobQueue, asking: LivePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(jobs.runs / asking.source, jobs.runs / f"{asking.source[:-8]}00000000")
    looked: list[str] = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda folder: looked.append(folder.name) or read(folder))
    live_requests.check(asking, jobs.runs)
    assert looked == [asking.source]


def test_a_prompt_that_is_too_long_is_refused(jobs: JobQueue, asking: LivePrompt) -> None:
    texts = (("context", "The capital of France is Oslo. " * 9), TEXTS[1])
    job = jobs.submit(LiveRequest(LivePrompt(**{**vars(asking), "texts": texts})), "tab")
    assert ended(job) == "refused" and "is longer than the 40 of a live view" in job.message


def test_an_empty_query_fails_in_one_line(jobs: JobQueue, asking: LivePrompt) -> None:
    job = jobs.submit(LiveRequest(LivePrompt(**{**vars(asking), "texts": (("context", "x"), ("query", " "))})), "tab")
    assert ended(job) == "failed" and job.message.startswith("there is no query")


def test_the_prompt_that_nobody_looked_at_for_longest_is_let_go(
    asking: LivePrompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Still(SteeredPrompt):
        def _ask(self, session: Any, value: float | None, progress: Any) -> Answer:
            return Answer("")

    class View:
        def start(self, session: Any, texts: Any, run: Any) -> SteeredPrompt:
            return Still(SliderRange(0, 1, 0.1, {"one": 1.0}), 1)

    from workbench.progress import Reporter

    monkeypatch.setattr(live_requests, "live_of", lambda probe: View())
    kept = LiveCache(2)
    three = [LivePrompt(**{**vars(asking), "source": "", "adapter": str(number)}) for number in range(3)]
    for one in three[:2]:
        kept.answer(LiveRequest(one), None, Path(), 9, Reporter())  # type: ignore[arg-type]
    kept.get(three[0])
    kept.answer(LiveRequest(three[2]), None, Path(), 9, Reporter())  # type: ignore[arg-type]
    assert [kept.get(one) is not None for one in three] == [True, False, True]
