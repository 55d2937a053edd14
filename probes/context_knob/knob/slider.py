"""The knob in a notebook: a slider over its values, and the model's answer beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.html_table import VIEW, Bundle, bundle, html

from .live_answers import ENDS, KnobAnswers

if TYPE_CHECKING:
    from workbench.internals.prompts import Prompt
    from workbench.internals.session import Session

    from .knob import Knob


class KnobSlider:
    """A slider over the knob's values on one prompt; `answers` holds what was answered at each value so far.

    None among the values stands for the model without the knob.
    """

    def __init__(self, knob: Knob, session: Session, prompt: Prompt, max_new_tokens: int = 8, **how: Any) -> None:
        import ipywidgets as ipw

        self._session = session
        self._turning = KnobAnswers(knob, session, prompt, max_new_tokens, **how)
        scale = self._turning.scale
        for value in (None, *scale.marks.values()):
            self.answer(value)
        self.slider = ipw.FloatSlider(
            value=knob.prior,
            min=scale.low,
            max=scale.high,
            step=scale.step,
            description="value",
            continuous_update=False,
            readout_format=".2f",
            layout=ipw.Layout(width="60%"),
        )
        ends = [self._end(name, value) for name, value in scale.marks.items()]
        self._shown = ipw.HTML()
        plain = ipw.HTML(f"without the knob: <strong>{html(self.answers[None])}</strong>")
        self.view = ipw.VBox([self.slider, ipw.HBox(ends), self._shown, plain])
        self.slider.observe(lambda change: self._turned(change["new"]), "value")
        self._turned(self.slider.value)

    @property
    def answers(self) -> dict[float | None, str]:
        return {value: said.text for value, said in self._turning.said.items()}

    def answer(self, value: float | None) -> str:
        """What the model generates with the knob at a value, or without it."""
        return self._turning.answer(self._session, value).text

    def _end(self, word: str, value: float) -> Any:
        """A button that sets the slider to a value with a name."""
        import ipywidgets as ipw

        tip = f"the value for answers from the {word}" if word in ENDS else f"the value that comes {word}"
        button = ipw.Button(description=f"{word}: {value:.2f}", tooltip=tip)
        button.on_click(lambda _: setattr(self.slider, "value", value))
        return button

    def _turned(self, value: float) -> None:
        at = self._turning.scale.nearest(value)
        self._shown.value = f"at {at:.2f}: <strong>{html(self.answer(at))}</strong>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        """The slider, and the answers so far as a table where no kernel runs."""
        rows = [
            ["without the knob" if value is None else name, "" if value is None else f"{value:.2f}", said.text]
            for name, value, said in self._turning.rows()
        ]
        kept = bundle("", table=[("knob", "value", "answer"), *rows])
        return {**kept, VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.view.model_id}}


def show(knob: Knob, session: Session, prompt: Prompt, max_new_tokens: int = 8, **how: Any) -> KnobSlider:
    """A slider over a knob's values, with the model's answer beside it; `how` goes to `Session.generate`."""
    return KnobSlider(knob, session, prompt, max_new_tokens, **how)
