"""One number to turn, and beside it what a model answers: slider, named values, curve, and all that was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmu

from ...figures import Figure
from ...probe.live_view import Live, SliderRange, SteeredPrompt
from .click_selection import point_of
from .figure_card import FigureCard
from .templates import html_pane, render

SIDE = {"flex": "1 1 400px", "min-width": "0"}
APART = 0.24
"""Share of a slider that two names in one row are apart."""


class SteeringSlider:
    """Shows one prompt at a time; `turn` is told of every value that the visitor sets."""

    def __init__(self, live: Live, turn: Callable[[float], None], snippet: Callable[[], str]) -> None:
        self._live, self._turn, self._snippet = live, turn, snippet
        self._turning: SteeredPrompt | None = None
        self._card: FigureCard | None = None
        self._at, self._listed = 0.0, 0
        self._slider = pmu.FloatSlider(
            label=live.turned,
            start=0.0,
            end=1.0,
            value=0.0,
            format="0.00",
            sizing_mode="stretch_width",
            margin=(10, 20),
        )
        self._slider.param.watch(lambda event: self._slid(event.new), "value_throttled")
        self._named = pmu.FlexBox(gap="10px", margin=(0, 10))
        self._answer = html_pane("live_answer.html", **self._words(0.0))
        self._figure = pn.Column(sizing_mode="stretch_width")
        self._asked = html_pane("live_asked.html", rows=[], plain="", columns=[])
        turned = pn.Column(self._slider, self._named, styles=SIDE)
        beside = pn.Column(self._answer, styles=SIDE)
        self.panel = pn.Column(
            pmu.FlexBox(turned, beside, gap="24px", sizing_mode="stretch_width"),
            self._figure,
            self._asked,
            visible=False,
            sizing_mode="stretch_width",
        )

    def show(self, turning: SteeredPrompt) -> None:
        """Show a prompt with its answers, the slider at its first named value."""
        before = self._turning.scale if self._turning is not None else None
        self._turning, self._listed, scale = turning, 0, turning.scale
        first = next(iter(scale.marks.values()))
        marks = [{"value": value, "label": name} for name, value in scale.marks.items()]
        self._slider.param.update(
            start=scale.low, end=scale.high, step=scale.step, value=first, marks=marks, sx=_rows_of(scale)
        )
        if scale != before:  # new buttons would lose a click that is under way
            self._named.objects = [self._button(f"{name}: {value:.2f}", value) for name, value in scale.marks.items()]
        self.say(first)

    def move(self, value: float) -> None:
        """Set the slider."""
        if self._slider.value != value:
            self._slider.value = value

    def expect(self, value: float) -> None:
        """Show that the answer at a value is on its way."""
        self._answer.object = render("live_answer.html", **self._words(value))

    def say(self, value: float) -> None:
        """Show the answer at a value; the slider stays, it may be in the visitor's hand."""
        if self._turning is None:
            return
        self._at = value
        self._answer.object = render("live_answer.html", **self._words(value))
        if len(self._turning.said) != self._listed:
            self._list(self._turning)

    def _list(self, turning: SteeredPrompt) -> None:
        """Show the curve and everything that was asked."""
        self._listed = len(turning.said)
        columns = list(next(iter(turning.said.values())).chances)
        rows = turning.rows()
        self._asked.object = render("live_asked.html", rows=rows, plain=self._live.plain, columns=columns)
        figure = turning.figure()
        if figure is None:
            return
        if self._card is None:
            self._card = FigureCard(figure, self._snippet, self._clicked, hint="A click sets the value.")
            self._figure.objects = [self._card.panel]
        else:
            self._card.show(figure)

    def back(self) -> None:
        """Show the last answer again, where the one that was asked for will not come."""
        # the same value may be set again
        self._slider.value_throttled = None
        self.move(self._at)
        self.say(self._at)

    def _slid(self, value: float | None) -> None:
        if value is not None:
            self._turn(float(value))

    def _clicked(self, figure: Figure, event: Any, drawn: Any) -> None:
        if (point := point_of(event)) is not None:
            self._turn(float(point["x"]))

    def _button(self, label: str, value: float) -> Any:
        button = pmu.Button(label=label, variant="outlined", size="small", margin=0, sx={"textTransform": "none"})
        button.on_click(lambda event: self._turn(value))
        return button

    def _words(self, value: float) -> dict[str, Any]:
        """What the answer's template needs."""
        turning = self._turning
        if turning is None:
            return {"value": None, "name": "", "said": None, "plain": None, "plain_name": ""}
        return {
            "value": value,
            "name": turning.scale.name(value),
            "said": turning.said.get(value),
            "plain": turning.said.get(None),
            "plain_name": self._live.plain,
        }


def _rows_of(scale: SliderRange) -> dict[str, Any]:
    """The style of a slider whose names of values stand in as many rows as keep them apart."""
    rows: list[list[float]] = []
    style: dict[str, Any] = {"& .MuiSlider-mark": {"width": 3, "height": 14}}
    for place, value in enumerate(scale.marks.values()):
        free = [
            n for n, row in enumerate(rows) if all(abs(value - one) > APART * (scale.high - scale.low) for one in row)
        ]
        row = free[0] if free else len(rows)
        rows += [] if free else [[]]
        rows[row].append(value)
        style[f"& .MuiSlider-markLabel[data-index='{place}']"] = {"top": f"{30 + 20 * row}px"}
    # the style is both the form's and the slider's within it
    style["marginBottom"] = f"{10 * len(rows) + 2}px"
    return style
