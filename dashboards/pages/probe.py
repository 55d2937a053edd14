"""The page of one probe: ask, plan, start, watch, and see what came of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...errors import WorkbenchError
from ...formatting import byte_size
from ...models import DEFAULT
from ...models.adapters import adapters
from ...probe.contract import Probe
from ...probe.form_fields import check
from ...probe.registry import PROBES
from ...records import store
from ...records.record import Record
from ...runs.plan import SmallerSetting
from ..components.form import GAP, WIDTH, Form, InvalidText
from ..components.layout import page
from ..components.run_result import run_result
from ..components.snippets import cli_command, python_snippet
from ..components.stage_preview import StagePreview
from ..components.templates import html_pane, render
from ..components.text_inputs import TextInput
from ..server.job_queue import Job, JobQueue, JobSnapshot
from ..server.run_request import RunRequest

POLL = 250
"""Milliseconds between two looks at a running job."""
_RECENT = 20
"""Runs that are offered for comparison."""


def probe_page(jobs: JobQueue) -> pmu.Page:
    """The page of the probe that the address names."""
    try:
        probe = PROBES.get(str(pn.state.route_params["name"]))
    except WorkbenchError as error:
        return page("Workbench", html_pane("no_probe.html", reason=str(error)))
    return page("Workbench", *ProbePage(probe, jobs).parts)


def argument(name: str) -> str:
    """One argument of the page's address, empty if it is not there."""
    found = pn.state.session_args.get(name, [b""])[0]
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


class ProbePage:
    """What one visitor sees and does on the page of a probe."""

    def __init__(self, probe: Probe, jobs: JobQueue) -> None:
        self._probe, self._jobs = probe, jobs
        self._owner = secrets.token_urlsafe(12)
        self._job: Job | None = None
        self._shown: JobSnapshot | None = None
        self._told: object = None
        self._preview: StagePreview | None = None
        self._ticking: Any = None
        self._resumed = self._record(argument("resume"))
        self._draw()
        begun = self._record(argument("from"))
        if begun is not None and begun.probe == probe.name:
            self._repeat(begun)
        self._changed()
        job = jobs.reassign(argument("job"), self._owner)
        if job is not None and isinstance(job.asked, RunRequest) and job.asked.probe == probe.name:
            self._watch(job)
        owner = self._owner
        pn.state.on_session_destroyed(lambda context: jobs.cancel_owner(owner))

    def _record(self, run: str) -> Record | None:
        """The record of a run that the address names, if there is a readable one."""
        try:
            return store.read(self._jobs.runs / run) if store.has_run(self._jobs.runs, run) else None
        except WorkbenchError:
            return None

    def _draw(self) -> None:
        models, shipped = self._jobs.shelf.models(), sorted(adapters())
        self._model = pmu.Select(
            label="Model", options=models, value=DEFAULT if DEFAULT in models else models[0], width=WIDTH, margin=0
        )
        self._adapter = pmu.Select(
            label="Adapter",
            options={"none": "", **{name: name for name in shipped}},
            visible=bool(shipped),
            width=WIDTH,
            margin=0,
        )
        self._preset = pmu.Select(label="Preset", options=list(self._probe.presets), value="quick", width=160, margin=0)
        self._seed = TextInput(label="Seed", value="0", width=120, margin=0)
        earlier = store.records(self._jobs.runs, self._probe.name)
        done = list(islice((one for one in earlier if one.status == "success"), _RECENT))
        options = {f"{one.model.id}, {one.preset}, {one.created} ({one.id[-8:]})": one.id for one in done}
        self._against = pmu.Select(label="Compare with", options={"nothing": "", **options}, width=WIDTH, margin=0)
        self._comparing = pmu.FlexBox(self._against, gap=GAP, visible=bool(options), margin=(18, 10, 0, 10))
        self._form = Form(self._probe, self._jobs.runs, self._jobs.limits, self._changed)
        self._plan = pmu.Button(label="Plan", variant="outlined")
        self._start = pmu.Button(label="Go on" if self._resumed else "Start", variant="contained")
        self._cancel = pmu.Button(label="Cancel", variant="outlined", color="error", visible=False)
        self._wrong = html_pane("wrong.html", wrong="")
        self._status = html_pane("job.html", job=None, parts=[], started=False)
        self._cheaper = pmu.FlexBox(gap="8px", visible=False, sizing_mode="stretch_width")
        self._result = pn.Column(sizing_mode="stretch_width")
        self._same = html_pane("same.html", command="", snippet="")
        self._plan.on_click(lambda event: self._submit(only_plan=True))
        self._start.on_click(lambda event: self._submit(only_plan=False))
        self._cancel.on_click(lambda event: self._stop())
        self._preset.param.watch(lambda event: self._preset_chosen(), "value")
        for made, value in ((self._model, "value"), (self._adapter, "value"), (self._seed, "value_input")):
            made.param.watch(lambda event: self._changed(), value)
        asking: list[Any] = (
            [html_pane("resumed.html", record=self._resumed)]
            if self._resumed
            else [
                pmu.FlexBox(self._model, self._adapter, self._preset, self._seed, gap=GAP, margin=(10, 10, 18, 10)),
                self._form.view,
                self._comparing,
            ]
        )
        self.parts: list[Any] = [
            html_pane("probe.html", probe=self._probe, here=DEFAULT in models, default=DEFAULT),
            *asking,
            self._wrong,
            pmu.FlexBox(self._plan, self._start, self._cancel, gap="12px"),
            self._status,
            self._cheaper,
            self._result,
            self._same,
        ]

    def _repeat(self, record: Record) -> None:
        """Show what an earlier run was asked, to change a setting of it, and compare with it."""
        if record.model.id in self._model.options:
            self._model.value = record.model.id
        if record.model.adapter is not None and record.model.adapter.id in self._adapter.options.values():
            self._adapter.value = record.model.adapter.id
        self._preset.value = record.preset
        self._seed.put(str(record.spec.seed))
        self._form.fill(record.preset, record.spec.given)
        if record.id in self._against.options.values():
            self._against.value = record.id

    def _preset_chosen(self) -> None:
        self._form.fill(self._preset.value)
        self._changed()

    def _changed(self) -> None:
        """An input changed: check them all, and forget a plan that is no longer of what is asked."""
        if self._resumed is not None:
            self._say_same(RunRequest.again(self._resumed, resume=True))
            return
        self._asked(keep=False)
        # An end that is not on the page yet is shown first: why a job failed is not lost to a key pressed meanwhile.
        if self._shown is not None and self._shown.ended and self._shown.run is None:
            self._job = None
            self._tell()

    def _asked(self, keep: bool) -> RunRequest | None:
        """What the inputs ask for, or None after saying at each what is wrong with it."""
        if self._resumed is not None:
            return RunRequest.again(self._resumed, resume=True)
        try:
            given, problems = check(self._probe, self._preset.value, self._form.typed(keep))
        except InvalidText as error:
            given, problems = {}, {error.setting: str(error)}
        seed = (self._seed.value_input or "").strip()
        right = seed.isascii() and seed.isdigit() and len(seed) < 19
        self._seed.param.update(error_state=not right, helper_text="" if right else "a whole number from 0 on")
        self._form.complain(problems)
        wrong = problems.get("", "")
        if not wrong and (problems or not right):
            wrong = "One of the inputs cannot be used; it says why."
        self._wrong.object = render("wrong.html", wrong=wrong)
        going = self._job is not None and not self._job.ended
        self._start.disabled = self._plan.disabled = bool(wrong) or going
        if wrong:
            return None
        asked = RunRequest(
            self._probe.name, self._model.value, self._adapter.value or None, self._preset.value, int(seed), given
        )
        self._say_same(asked)
        return asked

    def _say_same(self, asked: RunRequest) -> None:
        self._same.object = render("same.html", command=cli_command(asked), snippet=python_snippet(asked))

    def _submit(self, only_plan: bool) -> None:
        if self._job is not None and not self._job.ended:
            return
        asked = self._asked(keep=True)
        if asked is None:
            self._enable()
            return
        try:
            job = self._jobs.submit(asked, self._owner, only_plan)
        except WorkbenchError as error:
            self._wrong.object = render("wrong.html", wrong=str(error))
            return
        self._watch(job)

    def _stop(self) -> None:
        if self._job is not None:
            self._jobs.cancel(self._job)

    def _enable(self) -> None:
        """Let a text that was refused be changed and asked for again."""
        self._start.disabled = self._plan.disabled = False

    def _watch(self, job: Job) -> None:
        """Follow a job until it ends."""
        self._job, self._preview = job, None
        self._result.clear()
        if pn.state.location is not None:
            pn.state.location.update_query(job=job.id)  # type: ignore[arg-type]
        if self._ticking is None:
            self._ticking = pn.state.add_periodic_callback(lambda: self._tell(), period=POLL, start=False)
        if not self._ticking.running:
            self._ticking.start()
        self._tell()

    def _tell(self) -> None:
        """Show where the job is, if that changed since it was last shown."""
        seen = None if self._job is None else self._jobs.look(self._job)
        going = seen is not None and not seen.ended
        if seen is not None and seen.run is not None and self._preview is None:
            self._preview = StagePreview(self._jobs.runs / seen.run)
        found = self._preview.so_far() if self._preview is not None and going else []
        state = (seen, len(found))
        if not going and self._ticking is not None and self._ticking.running:
            self._ticking.stop()
        if state == self._told:
            return
        self._shown, self._told = seen, state
        self._cancel.visible = going
        self._plan.disabled = self._start.disabled = going
        self._status.object = render("job.html", job=seen, parts=found, started=going)
        self._offer_cheaper(seen)
        if seen is not None and seen.ended:
            self._show(seen)

    def _offer_cheaper(self, job: JobSnapshot | None) -> None:
        refusal = job.refusal if job is not None and self._resumed is None else None
        buttons = []
        for one in refusal.smaller if refusal is not None else ():
            label = f"Use {one.setting} = {one.value} ({byte_size(one.bytes)})"
            button = pmu.Button(label=label, variant="outlined", size="small")
            button.on_click(self._taking(one))
            buttons.append(button)
        self._cheaper.objects = buttons
        self._cheaper.visible = bool(buttons)

    def _taking(self, change: SmallerSetting) -> Callable[[Any], None]:
        return lambda event: self._take(change)

    def _take(self, change: SmallerSetting) -> None:
        if change.setting == "preset":
            self._preset.value = change.value
        else:
            self._form.put(change.setting, str(change.value))
        self._changed()

    def _show(self, job: JobSnapshot) -> None:
        if job.run is None:
            return
        against = self._against.value or ""
        self._result.objects = run_result(Path(self._jobs.runs) / job.run, against)
        if job.state == "done":
            # The next run from this page is compared with this one, unless another is chosen.
            self._against.options = {**self._against.options, f"the run that just ended ({job.run[-8:]})": job.run}
            self._against.value = job.run
            self._comparing.visible = True
            self._against.param.trigger("options")
