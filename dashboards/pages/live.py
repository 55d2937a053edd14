"""The page of a live view: texts of the visitor's own, one number to turn, and the model's answer beside it."""

from __future__ import annotations

import secrets
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...errors import WorkbenchError
from ...models import DEFAULT
from ...models.adapters import adapters
from ...probe.contract import Probe
from ...probe.live_view import LONGEST, Live, SteeredPrompt
from ...probe.registry import PROBES
from ...records import store
from ...records.record import Record
from ..components.form import GAP, WIDTH
from ..components.layout import page
from ..components.steering_slider import SIDE, SteeringSlider
from ..components.templates import html_pane, render
from ..components.text_inputs import TextArea
from ..server.job_queue import Job, JobQueue
from ..server.live_requests import LivePrompt, LiveRequest
from .probe import argument

POLL = 100
"""Milliseconds between two looks at a question that is being answered."""


def live_page(jobs: JobQueue | None) -> pmu.Page:
    """The page of the live view that the address names; without `jobs` it says that it needs a model."""
    probe, live = probes_with_live_view()[str(pn.state.route_params["name"])]
    if jobs is None:
        return page("Workbench", html_pane("live.html", probe=probe, live=live, startable=False))
    return page("Workbench", *LivePage(probe, live, jobs).parts)


def probes_with_live_view() -> dict[str, tuple[Probe, Live]]:
    """The probes that have a live view, with it."""
    every, _ = PROBES.loaded()  # the home page says why others cannot be loaded
    return {probe.name: (probe, live) for probe in every if (live := probe.live()) is not None}


class LivePage:
    """What one visitor sees and does on the page of a live view."""

    def __init__(self, probe: Probe, live: Live, jobs: JobQueue) -> None:
        self._probe, self._live, self._jobs = probe, live, jobs
        self._owner = secrets.token_urlsafe(12)
        self._job: Job | None = None
        self._shown: LivePrompt | None = None
        self._turning: SteeredPrompt | None = None
        self._ticking: Any = None
        self._filling = False
        self._missing = ""
        self._records = list(store.records(jobs.runs, probe.name))
        self._begun = next((one for one in self._records if one.id == argument("run")), None)
        self._draw(self._begun)
        self._model_chosen()
        owner = self._owner
        pn.state.on_session_destroyed(lambda context: jobs.cancel_owner(owner))

    def _draw(self, begun: Record | None) -> None:
        models, shipped = self._jobs.shelf.models(), sorted(adapters())
        model = begun.model.id if begun is not None else DEFAULT
        adapter = begun.model.adapter.id if begun is not None and begun.model.adapter else ""
        self._model = pmu.Select(
            label="Model", options=models, value=model if model in models else models[0], width=WIDTH, margin=0
        )
        self._adapter = pmu.Select(
            label="Adapter",
            options={"none": "", **{name: name for name in shipped}},
            value=adapter if adapter in shipped else "",
            visible=bool(shipped),
            width=WIDTH,
            margin=0,
        )
        self._source = pmu.Select(label=self._live.source, options=[], width=WIDTH, margin=0)
        self._texts = {
            text.name: TextArea(
                label=text.label,
                rows=text.rows,
                max_length=LONGEST,
                helper_text=text.help,
                sizing_mode="stretch_width",
                margin=0,
                styles=SIDE,
            )
            for text in self._live.texts
        }
        for text in self._live.texts:
            self._texts[text.name].put(text.first)
        self._ask = pmu.Button(label="Ask", variant="contained")
        self._cancel = pmu.Button(label="Cancel", variant="outlined", color="error", visible=False)
        self._wrong = html_pane("wrong.html", wrong="")
        self._status = html_pane("live_job.html", job=None)
        self._view = SteeringSlider(self._live, self._turn, self._snippet)
        self._ask.on_click(lambda event: self._first())
        self._cancel.on_click(lambda event: self._stop())
        self._model.param.watch(lambda event: self._model_chosen(), "value")
        for choice in (self._adapter, self._source):
            choice.param.watch(lambda event: self._changed(), "value")
        for text_input in self._texts.values():
            text_input.param.watch(lambda event: self._changed(), "value_input")
        self.parts: list[Any] = [
            html_pane("live.html", probe=self._probe, live=self._live, startable=True),
            pmu.FlexBox(self._model, self._adapter, self._source, gap=GAP, margin=(10, 10, 18, 10)),
            pmu.FlexBox(*self._texts.values(), gap=GAP, margin=(0, 10, 10, 10), sizing_mode="stretch_width"),
            self._wrong,
            pmu.FlexBox(self._ask, self._cancel, gap="12px"),
            self._status,
            self._view.panel,
        ]

    @property
    def _asking(self) -> LivePrompt:
        """What the inputs ask for."""
        texts = tuple((name, str(made.value_input or "")) for name, made in self._texts.items())
        return LivePrompt(
            self._probe.name, self._model.value, self._adapter.value or None, self._source.value or "", texts
        )

    def _model_chosen(self) -> None:
        """Offer what can be turned on this model."""
        model = self._model.value
        sources = self._live.sources(model, self._records)
        self._missing = "" if sources else self._live.missing(model, self._records)
        begun = self._begun.id if self._begun is not None else ""
        first = begun if begun in sources.values() else next(iter(sources.values()), "")
        self._filling = True
        self._source.param.update(options=sources or {"none": ""}, value=first, visible=bool(sources))
        self._filling = False
        self._changed()

    def _changed(self) -> None:
        """The inputs ask for something else: show it if it was asked before, otherwise wait for *Ask*."""
        if self._filling:
            return
        asking = self._asking
        self._wrong.object = render("wrong.html", wrong=self._missing)
        self._drop()
        if asking != self._shown and (turning := self._jobs.turnings.get(asking)) is not None:
            self._show(asking, turning)
        self._tell()

    def _first(self) -> None:
        """Ask for the first answers, unless they are on the page: what was turned since then stays."""
        asking = self._asking
        if self._turning is None or self._shown != asking or self._jobs.turnings.get(asking) is not self._turning:
            self._submit(LiveRequest(asking))

    def _turn(self, value: float) -> None:
        """Show the answer at a value, at once if it was asked before; an older question is given up."""
        turning, asking = self._turning, self._asking
        if turning is None or self._shown != asking:
            return
        at = turning.scale.nearest(value)
        self._drop()
        self._view.move(at)
        if at in turning.said:
            self._view.say(at)
            self._tell()
        else:
            self._view.expect(at)
            self._submit(LiveRequest(asking, at))

    def _submit(self, question: LiveRequest) -> None:
        self._drop()
        try:
            self._job = self._jobs.submit(question, self._owner)
        except WorkbenchError as error:
            self._wrong.object = render("wrong.html", wrong=str(error))
            self._give_up(question)
            return
        self._wrong.object = render("wrong.html", wrong="")
        self._tell()
        if self._ticking is None:
            self._ticking = pn.state.add_periodic_callback(lambda: self._tell(), period=POLL, start=False)
        if not self._ticking.running:
            self._ticking.start()

    def _drop(self) -> None:
        """Give up a question that was not answered yet."""
        if self._job is not None and not self._job.ended:
            self._jobs.cancel(self._job)
        self._job = None

    def _stop(self) -> None:
        if self._job is not None:
            self._jobs.cancel(self._job)

    def _tell(self) -> None:
        """Show where the question is, and its answer when it is there."""
        seen = None if self._job is None else self._jobs.look(self._job)
        said = render("live_job.html", job=seen)
        if said != self._status.object:
            self._status.object = said
        if seen is not None and seen.ended:
            self._job = None
            assert isinstance(seen.asked, LiveRequest)
            if seen.state == "done":
                self._answered(seen.asked)
            else:
                self._give_up(seen.asked)
        if self._job is None and self._ticking is not None and self._ticking.running:
            self._ticking.stop()
        going = self._job is not None
        self._cancel.visible = going
        self._ask.disabled = going or bool(self._missing)
        self._view.panel.visible = self._shown == self._asking

    def _answered(self, question: LiveRequest) -> None:
        turning = self._jobs.turnings.get(question.asking)
        if turning is None:  # let go of meanwhile, because many others asked
            self._submit(question)
        elif question.value is None or turning is not self._turning:
            self._show(question.asking, turning)
        else:
            self._view.say(question.value)

    def _give_up(self, question: LiveRequest) -> None:
        """Show the last answer again, where the one that was asked for will not come."""
        if question.value is not None and question.asking == self._shown:
            self._view.back()

    def _show(self, asking: LivePrompt, turning: SteeredPrompt) -> None:
        self._shown, self._turning = asking, turning
        self._view.show(turning)

    def _snippet(self) -> str:
        asking = self._asking
        run = str(self._jobs.runs / asking.source) if asking.source else None
        return self._live.snippet(asking.model, asking.adapter, dict(asking.texts), run)
