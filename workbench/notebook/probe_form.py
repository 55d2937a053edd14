"""Controls in a notebook: a probe's settings as a form, its progress, and its run beside them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from .. import tracebacks
from ..errors import Cancelled, WorkbenchError
from ..formatting import duration, strip_control
from ..html_table import VIEW, Bundle, bundle, html
from ..probe.form_fields import Field, check, display_value, fields_of
from ..progress import Progress, Reporter

if TYPE_CHECKING:
    from ..internals.session import Session
    from ..probe.contract import Probe
    from ..runs.run import Run


def explore(probe: str | Probe, session: Session | str, runs: str | os.PathLike[str] = "runs") -> ProbeForm:
    """A form of a probe's settings that runs it on a session and shows the result below.

    Raises `UnknownName` for a probe or model that does not exist.
    """
    from ..probe.registry import PROBES

    if isinstance(session, str):
        from ..internals.session import load

        session = load(session)
    return ProbeForm(PROBES.get(probe) if isinstance(probe, str) else probe, session, Path(runs))


class ProbeForm:
    """The form of one probe; `run` is the last finished run."""

    def __init__(self, probe: Probe, session: Session, runs: Path) -> None:
        import ipywidgets as ipw

        self.run: Run | None = None
        self._probe, self._session, self._runs = probe, session, runs
        self._reporter = Reporter()
        self._thread: threading.Thread | None = None
        self._running = False
        # The form and the thread of a run both say whether a run can be started; each decides and says it in one step.
        self._buttons = threading.RLock()
        self._fields = fields_of(probe)
        self._preset = ipw.Dropdown(options=list(probe.presets), value="quick", description="preset")
        self._inputs = {field.name: _control(field) for field in self._fields}
        self._notes = {field.name: ipw.HTML(layout=ipw.Layout(width="55%")) for field in self._fields}
        self._start = ipw.Button(description="Run", button_style="primary")
        self._stop = ipw.Button(description="Stop", disabled=True)
        self._bar = ipw.IntProgress(layout=ipw.Layout(width="240px", display="none"))
        self._said = ipw.HTML()
        self._result = ipw.Output()
        rows = [ipw.HBox([self._inputs[f.name], self._notes[f.name]]) for f in self._fields]
        self.view = ipw.VBox(
            [
                ipw.HTML(f"<strong>{html(probe.name)}</strong>: {html(probe.question)}"),
                self._preset,
                ipw.Accordion([ipw.VBox(rows)], titles=["Settings"], selected_index=None),
                ipw.HBox([self._start, self._stop, self._bar, self._said]),
                self._result,
            ]
        )
        self._fill()
        self._preset.observe(lambda _: self._fill(), "value")
        for control in self._inputs.values():
            control.observe(lambda _: self._checked(), "value")
        self._start.on_click(lambda _: self.start())
        self._stop.on_click(lambda _: self.stop())

    def set(self, **settings: Any) -> None:
        """Change settings in the form; `preset` is one of them."""
        if "preset" in settings:
            self._preset.value = settings.pop("preset")
        known = {field.name: field for field in self._fields}
        for name, value in settings.items():
            if name not in known:
                from ..errors import UnknownName

                raise UnknownName("setting", name, known)
            self._inputs[name].value = display_value(known[name], value)

    def start(self) -> None:
        """Run the probe with the settings of the form, in a thread of its own; nothing while one is running."""
        with self._buttons:
            given = self._checked()
            if given is None or self._running:
                return
            self._running = True
            self._reporter = Reporter(self._tell)
            self._start.disabled, self._stop.disabled = True, False
        self._bar.layout.display = ""
        self._said.value = "starting"
        self._thread = threading.Thread(target=self._work, args=(given,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the run at its next step."""
        self._reporter.cancelled.set()

    def wait(self, seconds: float | None = None) -> None:
        """Return when the run has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self, given: dict[str, Any]) -> None:
        from ..runs.api import run

        try:
            self.run = run(
                self._probe, self._session, self._preset.value, runs=self._runs, progress=self._reporter, **given
            )
            self._said.value = "finished"
            self._result.outputs = tuple(
                {"output_type": "display_data", "data": data, "metadata": {}} for data in _with_figures(self.run)
            )
        except Cancelled:
            self._said.value = "stopped"
        except WorkbenchError as error:
            self._said.value = html(error)
            self._keep(error)
        except Exception as error:  # a thread has nobody else to tell
            self._said.value = html(f"{type(error).__name__}: {error}")
            self._keep(error)
        finally:
            self._bar.layout.display = "none"
            with self._buttons:
                self._running = False
                self._start.disabled, self._stop.disabled = False, True

    def _keep(self, error: Exception) -> None:
        """Show where an unexpected error came from, as a notebook shows one of a cell."""
        if tracebacks.unexpected(error):
            lines = [strip_control(line) for line in tracebacks.told(error).splitlines()]
            named = {"ename": type(error).__name__, "evalue": strip_control(str(error)), "traceback": lines}
            self._result.outputs = ({"output_type": "error", **named},)

    def _tell(self, event: Progress) -> None:
        left = f", {duration(event.eta)} left" if event.eta else ""
        self._bar.max, self._bar.value = max(1, event.total), event.done
        self._said.value = html(f"{event.stage}: {event.done} of {event.total}{left}")

    def _fill(self) -> None:
        """Show the settings of the chosen preset."""
        config = self._probe.Config(**self._probe.presets[self._preset.value])
        for field in self._fields:
            self._inputs[field.name].value = display_value(field, getattr(config, field.name))
        self._checked()

    def _checked(self) -> dict[str, Any] | None:
        """The settings that differ from the preset's; None if one is wrong, which is said beside it."""
        typed = {field.name: _typed(field, self._inputs[field.name].value) for field in self._fields}
        given, problems = check(self._probe, self._preset.value, typed)
        for field in self._fields:
            wrong = problems.get(field.name)
            self._notes[field.name].value = f"<em>{html(wrong)}</em>" if wrong else html(field.help)
        with self._buttons:
            self._start.disabled = bool(problems) or self._running
            if not self._running:
                self._said.value = html("; ".join(problems.values()))
        return None if problems else given

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        """The live form, and the settings as a table where no kernel runs."""
        rows = [[field.name, self._inputs[field.name].value, field.help] for field in self._fields]
        kept = bundle(self._probe.name, [self._probe.question], table=[("setting", "value", ""), *rows])
        return {**kept, VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.view.model_id}}


def _control(field: Field) -> Any:
    """The input that a field takes."""
    import ipywidgets as ipw

    same = {"description": field.name, "tooltip": field.help, "layout": ipw.Layout(width="44%")}
    same["style"] = {"description_width": "10em"}
    if field.kind == "flag":
        return ipw.Checkbox(indent=True, **same)
    if field.kind == "choice":
        return ipw.Dropdown(options=["", *field.options] if field.optional else list(field.options), **same)
    if field.kind == "file":
        return ipw.Combobox(options=list(field.options), ensure_option=False, **same)
    if field.kind == "text":
        return ipw.Textarea(**same)
    if field.kind == "line":
        return ipw.Text(**same)
    assert_never(field.kind)


def _typed(field: Field, value: Any) -> Any:
    """What was typed; a text that is no name the probe knows is the path of a file."""
    return Path(value) if field.kind == "file" and value and value not in field.options else value


def _with_figures(run: Run) -> list[Bundle]:
    """A run, then each of its figures."""
    return [run._repr_mimebundle_(), *(figure._repr_mimebundle_() for figure in run.figures.values())]
