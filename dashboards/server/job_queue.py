"""Runs asked for on the pages: a bounded queue and one worker; what came of a run is in its folder, not here."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ... import tracebacks
from ...errors import Cancelled, UnknownName, WorkbenchError
from ...formatting import one_line
from ...models.adapters import adapters
from ...probe import settings
from ...probe.registry import PROBES
from ...progress import Progress, Reporter
from ...records import store
from ...records.record import Plan
from ...runs import execute, prepare
from ...runs import plan as planning
from ...runs.resume import Request, request_of
from .limits import Limits, TooLong
from .live_requests import LiveCache, LiveRequest
from .live_requests import check as check_question
from .run_request import RunRequest
from .session_pool import SessionPool

State = Literal["waiting", "loading", "planning", "running", "done", "refused", "cancelled", "failed"]
ENDED = ("done", "refused", "cancelled", "failed")
_KEPT = 200
"""Ended jobs that are remembered, for pages that still show them."""


@dataclass
class Job:
    """One piece of work of one visitor; pages read it while the worker fills it in."""

    id: str
    owner: str
    asked: RunRequest | LiveRequest
    only_plan: bool
    state: State = "waiting"
    progress: Progress | None = None
    plan: Plan | None = None
    refusal: planning.OverBudget | None = None
    """Why it needs more memory than it may take, with settings that would fit."""
    message: str = ""
    """One line on why it was refused or failed."""
    run: str | None = None
    """The id of the run, from the moment its folder is there."""
    reporter: Reporter = field(default_factory=Reporter)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def short(self) -> bool:
        """Whether it goes before runs."""
        return self.only_plan or isinstance(self.asked, LiveRequest)


@dataclass(frozen=True)
class JobSnapshot:
    """A job at one moment: what a page shows of it, and what it lets a visitor do, follow from one of these."""

    id: str
    asked: RunRequest | LiveRequest
    only_plan: bool
    state: State
    progress: Progress | None
    plan: Plan | None
    refusal: planning.OverBudget | None
    message: str
    run: str | None
    ahead: int
    """Jobs that are served before it."""

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class JobQueue:
    """A queue of jobs and the thread that does them one after the other; plans and live views go before runs."""

    def __init__(self, runs: Path, limits: Limits | None = None, models: Sequence[str] = ()) -> None:
        self.runs = runs
        self.limits = limits or Limits()
        self.shelf = SessionPool(self.limits.models, models)
        self.turnings = LiveCache()
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def submit(self, asked: RunRequest | LiveRequest, owner: str, only_plan: bool = False) -> Job:
        """Put a job into the queue.

        Raises `UsageError` for a model or settings that cannot be had here, and `WorkbenchError` if the queue is full.
        """
        probe = PROBES.get(asked.probe)
        if asked.model not in (known := self.shelf.models()):
            raise UnknownName("model on these pages", asked.model, known, "others: `workbench serve --model ID`")
        if asked.adapter is not None and asked.adapter not in adapters():
            raise UnknownName("adapter on these pages", asked.adapter, adapters())
        if isinstance(asked, LiveRequest):
            if self.turnings.get(asked.asking) is None:
                check_question(asked.asking, self.runs)
        else:
            settings.resolve(probe.Config, probe.presets, asked.preset, asked.given)
        job = Job(secrets.token_urlsafe(12), owner, asked, only_plan)
        job.reporter.listener = lambda event: setattr(job, "progress", event)
        with self._changed:
            if self._closed:
                raise WorkbenchError("the server is stopping")
            active = self._active()
            if len(active) >= self.limits.queue:
                raise WorkbenchError(f"{len(active)} jobs wait or run already; try again when some are done")
            if sum(other.owner == owner for other in active) >= self.limits.own:
                raise WorkbenchError(
                    f"{self.limits.own} jobs of this tab wait or run already; cancel one, or wait until one is done"
                )
            self._jobs[job.id] = job
            self._forget()
            self._changed.notify_all()
        return job

    def get(self, job: str) -> Job | None:
        """The job of this id, if it is still known."""
        return self._jobs.get(job)

    def active(self) -> list[Job]:
        """The jobs that wait or run, in the order in which they are served."""
        with self._changed:
            return self._active()

    def look(self, job: Job) -> JobSnapshot:
        """What a job is at this moment."""
        with self._changed:
            return self._look(job, self._active())

    def now(self) -> list[JobSnapshot]:
        """The jobs that wait or run at this moment, in the order in which they are served."""
        with self._changed:
            active = self._active()
            return [self._look(job, active) for job in active]

    def cancel(self, job: Job) -> None:
        """Ask a job to stop: at once if it waits, between two of its steps if it runs."""
        with self._changed:
            job.reporter.cancelled.set()
            if job.state == "waiting":
                job.state = "cancelled"

    def reassign(self, job: str, owner: str) -> Job | None:
        """Hand a job over to another tab, as when a page is loaded again."""
        with self._changed:
            found = self._jobs.get(job)
            if found is not None:
                found.owner = owner
            return found

    def cancel_owner(self, owner: str) -> None:
        """Cancel whatever a tab that was closed had asked for."""
        for job in self.active():
            if job.owner == owner:
                self.cancel(job)

    def close(self, wait: float = 30.0) -> None:
        """Cancel everything and stop the worker."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for job in self.active():
            self.cancel(job)
        self._thread.join(wait)
        if not self._thread.is_alive():
            self.shelf.close()

    def _active(self) -> list[Job]:
        jobs = [job for job in self._jobs.values() if not job.ended]
        return sorted(jobs, key=lambda job: (job.state == "waiting", not job.short))

    def _look(self, job: Job, active: Sequence[Job]) -> JobSnapshot:
        ahead = next((place for place, one in enumerate(active) if one is job), 0)
        return JobSnapshot(
            job.id,
            job.asked,
            job.only_plan,
            job.state,
            job.progress,
            job.plan,
            job.refusal,
            job.message,
            job.run,
            ahead,
        )

    def _tell(self, job: Job, state: State, message: str = "") -> None:
        """Say where a job is; state and message change in one step."""
        with self._changed:
            job.state, job.message = state, message

    def _forget(self) -> None:
        ended = [id for id, job in self._jobs.items() if job.ended]
        for id in ended[: max(len(ended) - _KEPT, 0)]:
            del self._jobs[id]

    def _next(self) -> Job | None:
        """The next job, taken out of waiting; None when the worker is to stop."""
        with self._changed:
            while True:
                if self._closed:
                    return None
                if active := self._active():
                    active[0].state = "loading"
                    return active[0]
                self._changed.wait()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            message = ""
            try:
                ended = self._do(job)
            except Cancelled:
                ended = "cancelled"
            except planning.OverBudget as error:
                ended, message, job.refusal = "refused", one_line(str(error)), error
            except TooLong as error:
                ended, message = "refused", one_line(str(error))
            except Exception as error:
                known = isinstance(error, WorkbenchError)
                ended, message = "failed", one_line(str(error) if known else f"{type(error).__name__}: {error}")
                tracebacks.log(error, f"a job of {job.asked.probe} on {job.asked.model} failed")
            self._tell(job, ended, message)

    def _do(self, job: Job) -> State:
        asked, limits = job.asked, self.limits
        job.reporter.send(0, 1, "loading the model")
        session = self.shelf.get(asked.model, asked.adapter, job.reporter)
        if isinstance(asked, LiveRequest):
            self._tell(job, "running")
            self.turnings.answer(asked, session, self.runs, limits.live_tokens, job.reporter)
            return "done"
        self._tell(job, "planning")
        job.reporter.send(0, 1, "planning")
        request = Request(asked.preset, asked.seed, dict(asked.given), None)
        if asked.resume is not None:
            request = request_of(store.read(store.find(asked.resume, self.runs)))
        prepared = prepare.prepare(
            asked.probe, session, request.preset, request.seed, request.given, limits.memory, request.resolved
        )
        job.plan = prepared.plan
        job.reporter.check()
        planning.refuse_over_budget(prepared.probe, session, prepared.config, prepared.plan)
        self._refuse_long_prompts(prepared.plan)
        if job.only_plan:
            return "done"
        self._tell(job, "running")
        # A page shows where the run is before its first step is done.
        job.reporter.send(0, 1, "starting")
        execute.execute(
            prepared, self.runs, job.reporter, asked.resume, lambda folder: setattr(job, "run", folder.name)
        )
        return "done"

    def _refuse_long_prompts(self, plan: Plan) -> None:
        longest = max((int(work["length"]) + int(work["generated"]) for work in plan.work), default=0)
        if longest > self.limits.prompt_tokens:
            raise TooLong(
                f"a prompt of {longest} tokens is longer than the {self.limits.prompt_tokens} that this server takes; "
                "choose less, or run it from the command line"
            )
