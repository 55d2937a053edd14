"""The inputs of a probe's settings, drawn from its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, assert_never

import panel as pn
import panel_material_ui as pmu

from ...errors import WorkbenchError
from ...formatting import byte_size
from ...probe.contract import Probe
from ...probe.form_fields import Field, display_value, fields_of
from ...probe.setting_names import FIRST
from ..server.limits import Limits
from ..server.uploads import FOLDER, keep_text
from .templates import html_pane
from .text_inputs import TextArea, TextInput

OWN = "a text of my own"
WIDTH = 340
GAP = "18px 24px"


class Form:
    """The inputs of one probe on one page; `changed` is called whenever an input changes."""

    def __init__(self, probe: Probe, runs: Path, limits: Limits, changed: Callable[[], None]) -> None:
        self._fields = {field.name: field for field in fields_of(probe)}
        self._texts: dict[str, UserText] = {}
        self._inputs: dict[str, Any] = {}
        self._probe = probe
        self._changed = changed
        self._filling = False
        first: list[pn.viewable.Viewable] = []
        rest: list[pn.viewable.Viewable] = []
        for field in self._fields.values():
            drawn = self._draw(field, runs, limits)
            (first if field.name in FIRST else rest).append(drawn)
        if not first:
            first, rest = rest, []
        grid = {"gap": GAP, "margin": (0, 10), "sizing_mode": "stretch_width"}
        parts: list[Any] = [pmu.FlexBox(*first, **grid)]
        self._folded = [field.name for field in self._fields.values() if field.name not in FIRST]
        self._more: pmu.Accordion | None = None
        if rest:
            self._more = pmu.Accordion(
                ("More settings", pmu.FlexBox(*rest, **grid)),
                sizing_mode="stretch_width",
                active=[],
                elevation=0,
                title_variant="subtitle1",
            )
            parts.append(self._more)
        self.view = pn.Column(*parts, sizing_mode="stretch_width")
        self.fill("quick")

    def fill(self, preset: str, given: Mapping[str, Any] | None = None) -> None:
        """Show the settings of a preset, and over them what a run was given."""
        config = self._probe.Config(**{**self._probe.presets[preset], **(given or {})})
        self._filling = True
        for name, field in self._fields.items():
            value = display_value(field, getattr(config, name))
            if name in self._texts:
                self._texts[name].show(value)
            elif isinstance(self._inputs[name], TextInput):
                self._inputs[name].put(value)
            elif value in self._offered(name):
                self._inputs[name].value = value
        self._filling = False
        self.complain({})

    def typed(self, keep: bool) -> dict[str, Any]:
        """What the inputs show, by name; a text of the visitor's own stands as its path, after being kept with `keep`.

        Raises `TextRefused` for a text that cannot be used.
        """
        return {
            name: self._texts[name].value(keep) if name in self._texts else self._value(name) for name in self._fields
        }

    def put(self, name: str, text: str) -> None:
        """Change one input."""
        self._inputs[name].put(text)

    def complain(self, problems: Mapping[str, str]) -> None:
        """Say at each input what is wrong with it, and nothing at the others."""
        for name, field in self._fields.items():
            wrong = problems.get(name)
            if name in self._texts:
                self._texts[name].complain(wrong)
            elif field.kind != "flag":
                self._inputs[name].param.update(error_state=wrong is not None, helper_text=wrong or field.help)
        if self._more is not None and any(name in problems for name in self._folded):
            self._more.active = [0]

    def _offered(self, name: str) -> tuple[Any, ...]:
        return (True, False) if self._fields[name].kind == "flag" else ("", *self._fields[name].options)

    def _value(self, name: str) -> Any:
        made = self._inputs[name]
        return made.value_input if isinstance(made, TextInput) else made.value

    def _draw(self, field: Field, runs: Path, limits: Limits) -> pn.viewable.Viewable:
        if field.kind == "file":
            self._texts[field.name] = UserText(field, runs, limits, self._heard)
            return self._texts[field.name].view
        made: Any
        if field.kind == "flag":
            self._inputs[field.name] = made = pmu.Checkbox(label=field.name, value=False, width=WIDTH, margin=0)
            made.param.watch(lambda event: self._heard(), "value")
            return pn.Column(made, html_pane("help.html", help=field.help), width=WIDTH, margin=0)
        if field.kind == "choice":
            options = {**({"none": ""} if field.optional else {}), **{option: option for option in field.options}}
            made = pmu.Select(label=field.name, options=options, helper_text=field.help, width=WIDTH, margin=0)
            made.param.watch(lambda event: self._heard(), "value")
        elif field.kind == "line" or field.kind == "text":
            made = TextInput(label=field.name, helper_text=field.help, width=WIDTH, margin=0)
            made.param.watch(lambda event: self._heard(), "value_input")
        else:
            assert_never(field.kind)
        self._inputs[field.name] = made
        return made

    def _heard(self) -> None:
        if not self._filling:
            self._changed()


class UserText:
    """A setting that takes a built-in name, or a text that is pasted or uploaded; never a path."""

    def __init__(self, field: Field, runs: Path, limits: Limits, changed: Callable[[], None]) -> None:
        self._field, self._runs, self._limits = field, runs, limits
        self._kept: Path | None = None
        self._choice = pmu.Select(
            label=field.name, options=[*field.options, OWN], helper_text=field.help, width=WIDTH, margin=0
        )
        self._pasted = TextArea(
            label=f"{field.name}: paste a text",
            rows=4,
            max_length=limits.upload_bytes,
            helper_text=f"At most {byte_size(limits.upload_bytes)}, or a file instead.",
            width=WIDTH,
            margin=0,
        )
        self._file = pmu.FileInput(
            label=f"{field.name}: upload a text file",
            accept=".txt,.md,.json,.jsonl",
            max_file_size=limits.upload_bytes,
            variant="outlined",
            width=WIDTH,
            margin=0,
        )
        self._own = pn.Column(self._pasted, self._file, visible=False, width=WIDTH, margin=0)
        self._choice.param.watch(lambda event: self._turn(changed), "value")
        self._pasted.param.watch(lambda event: self._anew(changed), "value_input")
        self._file.param.watch(lambda event: self._anew(changed), "value")
        self.view = pn.Column(self._choice, self._own, width=WIDTH, margin=0)

    def show(self, value: str) -> None:
        """Show a built-in name, or that a text which an earlier run brought is used again."""
        self._kept = None
        if value in self._field.options:
            self._choice.value = value
        elif (path := Path(value)).parent == self._runs.resolve() / FOLDER and path.is_file():
            self._kept = path
            self._choice.value = OWN

    def value(self, keep: bool) -> str | Path:
        """A built-in name, or the path of the visitor's text: of where it was kept, with `keep` after keeping it."""
        if self._choice.value != OWN:
            return str(self._choice.value)
        pasted, uploaded = self._pasted.value_input or "", self._file.value
        if not pasted and not uploaded and self._kept is not None:
            return self._kept
        if not keep:
            return Path("your-text.txt")
        content = pasted.encode() if pasted.strip() else bytes(uploaded or b"")
        try:
            name = "" if pasted.strip() else str(self._file.filename or "")
            return keep_text(self._runs, content, name, self._limits)
        except WorkbenchError as error:
            raise InvalidText(self._field.name, str(error)) from error

    def complain(self, wrong: str | None) -> None:
        own = self._choice.value == OWN
        self._choice.param.update(
            error_state=wrong is not None and not own, helper_text=(None if own else wrong) or self._field.help
        )
        self._pasted.param.update(
            error_state=wrong is not None and own,
            helper_text=(wrong if own else None)
            or f"At most {byte_size(self._limits.upload_bytes)}, or a file instead.",
        )

    def _turn(self, changed: Callable[[], None]) -> None:
        self._own.visible = self._choice.value == OWN
        changed()

    def _anew(self, changed: Callable[[], None]) -> None:
        self._kept = None
        changed()


class InvalidText(WorkbenchError):
    """A visitor's own text that cannot be used."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(why)
        self.setting = setting
