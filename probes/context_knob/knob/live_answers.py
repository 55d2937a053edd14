"""The knob on one prompt: the values it takes, the answer at each, and which answer is likely over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.errors import UsageError
from workbench.figures import Axis, Figure, Line, Panel, ReferenceLine, Scatter
from workbench.figures.text import escape_whitespace, shorten
from workbench.internals.prefix_cache import prefill, residuals, run
from workbench.internals.steering import SteeringSpec, next_tokens_of_one
from workbench.probe.live_view import Answer, SliderRange, SteeredPrompt
from workbench.progress import Reporter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from workbench.figures import Mark
    from workbench.internals.prompts import Prompt
    from workbench.internals.session import Session

    from .knob import Knob

BEYOND = 0.5
"""How far the values reach beyond those of prior and context, as a share of their distance."""
STEPS = 60
"""Steps between prior and context."""
CURVE = 41
"""Values on the curve."""
ENDS = ("prior", "context")


def scale(knob: Knob) -> SliderRange:
    """The values of a knob: named are those for prior and context, and the natural ones where they are others.

    Raises `UsageError` for a knob that has nothing to turn.
    """
    low, high = sorted((knob.prior, knob.context))
    if low == high:
        raise UsageError("this knob's values for prior and context are the same, so there is nothing to turn")
    step, reach = (high - low) / STEPS, BEYOND * (high - low)
    marks = {"prior": knob.prior, "context": knob.context}
    if knob.natural is not None and any(
        abs(one - other) > step for one, other in zip(knob.natural, marks.values(), strict=True)
    ):
        marks |= {f"natural, {name}": value for name, value in zip(ENDS, knob.natural, strict=True)}
    return SliderRange(low - reach, high + reach, step, marks)


class KnobAnswers(SteeredPrompt):
    """The knob on one prompt; `how` goes to `Session.generate`."""

    def __init__(self, knob: Knob, session: Session, prompt: Prompt, max_new_tokens: int = 8, **how: Any) -> None:
        knob.check(session)
        self._prompt = session.tokens(prompt, bool(how.pop("chat", False)))
        super().__init__(scale(knob), int(self._prompt.lengths.max()))
        self._knob, self._new, self._how = knob, max_new_tokens, how
        self._begins: dict[float | None, int] = {}
        self._firsts: dict[str, int] = {}
        self._values: list[float] = []
        self._curves: dict[str, list[float]] = {}
        self._own: float | None = None

    def begin(self, session: Session, progress: Reporter | None = None) -> None:
        """Ask without the knob and at the named values; then follow the beginnings of both answers over all values."""
        progress = progress or Reporter()
        named = [value for value in dict.fromkeys(self.scale.marks.values()) if value not in self.said]
        self.answer(session, None, progress)
        if named:
            texts = self._generate(session, named, progress)
            self.said.update({value: Answer(text) for value, text in zip(named, texts, strict=True)})
        progress.send(0, 1, "the curve")
        self._follow(session)

    def _ask(self, session: Session, value: float | None, progress: Reporter | None) -> Answer:
        text = self._generate(session, [value], progress)[0]
        if not self._firsts:
            return Answer(text)
        asked = [] if value is None else self._knob.edits(value)[:1]
        return Answer(text, self._chances(session.logits(self._prompt, [-1], asked)[0, -1].float().softmax(-1)))

    def _generate(self, session: Session, values: Sequence[float | None], progress: Reporter | None) -> list[str]:
        """The answers at several values at once; None stands alone."""
        rows = self._prompt.rows() * len(values)
        edits = [] if values[0] is None else self._knob.edits(torch.tensor(values, dtype=torch.float32)[:, None])
        made = session.generate(rows, self._new, edits, progress=progress, **self._how)
        said = []
        for value, ids, stopped in zip(values, made.rows(), made.stopped.tolist(), strict=True):
            self._begins[value] = ids[0]
            kept = ids[:-1] if stopped else ids
            said.append(session.text(kept).strip() if kept else "")
        return said

    def _beginnings(self, session: Session) -> dict[str, int]:
        """The first tokens of what is answered at prior and at context, by what the reader is told of them."""
        prior, context = (self._begins[self.scale.marks[name]] for name in ENDS)
        if prior == context:
            return {f"{_word(session, prior)} (both)": prior}
        return {f"{_word(session, prior)} (prior)": prior, f"{_word(session, context)} (context)": context}

    def _chances(self, chance: Tensor) -> dict[str, float]:
        return {name: float(chance[token]) for name, token in self._firsts.items()}

    def _follow(self, session: Session) -> None:
        """The probability of both beginnings over all values, and the value that the prompt has by itself."""
        self._firsts = self._beginnings(session)
        direction, layer = self._knob.direction, self._knob.layer
        waiting = prefill(session, self._prompt.rows())
        self._own = float(residuals(session, waiting, [layer])[0, 0] @ direction)
        asked = [value for value in self.said if value is not None]
        values = np.linspace(self.scale.low, self.scale.high, CURVE).tolist()
        chances = next_tokens_of_one(session, waiting, [SteeringSpec(layer, direction, at) for at in [*values, *asked]])
        with torch.no_grad():
            plain = run(session, waiting).softmax(-1)[0]
        for value, chance in zip([None, *asked], [plain, *chances[CURVE:]], strict=True):
            self.said[value] = Answer(self.said[value].text, self._chances(chance))
        curve = [self._chances(chance) for chance in chances[:CURVE]]
        self._curves = {name: [each[name] for each in curve] for name in self._firsts}
        self._values = values

    def figure(self) -> Figure | None:
        """How likely each answer begins over the value, what was asked, and where the natural values are."""
        if not self._values:
            return None
        asked = sorted(one for one in dict(self.said) if one is not None)
        marks: list[Mark] = [Line(self._values, curve, name) for name, curve in self._curves.items()]
        marks += [
            Scatter(asked, [self.said[one].chances[name] for one in asked], f"asked: {name}", secondary=True)
            for name in self._curves
        ]
        # the names of values that lie close together would run into each other
        marks += [ReferenceLine(mark, "x", name.split(",")[0]) for name, mark in self.scale.marks.items()]
        if self._own is not None and self.scale.low <= self._own <= self.scale.high:
            marks.append(ReferenceLine(self._own, "x", "this prompt by itself"))
        return Figure(
            name="turned",
            title="Which answer comes, over the value that is set",
            panels=[Panel(marks, Axis("value along the direction"), Axis("probability", limits=(-0.02, 1.12)))],
            caption=(
                "Probability of the first token of the answers at prior and at context, on this prompt. Points: values "
                f"that were asked. By itself the prompt has the value {self._own:.2f}."
            ),
            alt="Probability of the first token of both answers over the value along the direction, on one prompt.",
        )


def _word(session: Session, token: int) -> str:
    return shorten(escape_whitespace(session.text([token]).strip()), 20)
