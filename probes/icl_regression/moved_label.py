"""One drawn prompt of which one label is moved: the learner's prediction beside those of known algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.errors import UsageError
from workbench.figures import Axis, Figure, Line, Panel, ReferenceLine, Scatter
from workbench.probe.live_view import Answer, SliderRange, SteeredPrompt
from workbench.progress import Reporter

from .asking import Task, answers_to
from .predictors import Predictor, ols, optimal_step, ridge
from .prompts import sample

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.figures import Mark
    from workbench.internals.session import Session

CURVE = 41
"""Values on the learner's line."""
BEYOND = 3.0
"""How far the values reach, in deviations of a label."""
PENALTY = 0.1
"""λ of the ridge that is shown where labels have no noise."""


class MovedLabel(SteeredPrompt):
    """The prompt that `seed` draws, asked for its next label after `pairs` pairs; the label of pair `moved` is set.

    Pairs are counted from 1. Raises `UsageError` for pairs that the task has not.
    """

    def __init__(self, task: Task, seed: int, pairs: int, moved: int) -> None:
        if not 1 <= pairs < task.length:
            raise UsageError(f"this learner is asked after 1 to {task.length - 1} pairs, not {pairs}")
        if not 1 <= moved <= pairs:
            raise UsageError(f"the prompt has the pairs 1 to {pairs}, and no pair {moved}")
        drawn = sample(1, pairs + 1, task.dimensions, np.random.default_rng(seed), task.noise, task.spread)
        self._x, self._y, self._place = drawn.x, drawn.y, moved - 1
        self.true = float(drawn.y[0, -1])
        own = float(drawn.y[0, self._place])
        reach = max(BEYOND * (task.dimensions * task.spread**2 + task.noise**2) ** 0.5, abs(own))
        super().__init__(SliderRange(-reach, reach, reach / 100, {"as drawn": own, "turned over": -own}), 2 * pairs + 1)
        self._known: list[Predictor] = [ols(), ridge(task.ratio or PENALTY), optimal_step(task.ratio)]
        self._curve: list[float] = []

    def begin(self, session: Session, progress: Reporter | None = None) -> None:
        """Ask at the named values, and along the whole line."""
        super().begin(session, progress)
        self._curve = self.learner(session, self._values()).tolist()

    def learner(self, session: Session, values: Tensor) -> Tensor:
        """What the learner predicts where the moved label has each of `values`, float64 `[value]`."""
        y = self._labels(values)
        pairs = y.shape[1] - 1
        x = self._x.expand(len(values), -1, -1)
        return answers_to(session, x[:, :pairs], y[:, :pairs], x[:, pairs:], Reporter(), "one label moved")[:, 0]

    def known(self, values: Tensor) -> dict[str, Tensor]:
        """The same of each known algorithm, by name."""
        x, y = self._x.expand(len(values), -1, -1), self._labels(values)
        return {each.name: each.predict(x, y)[:, -1] for each in self._known}

    def _labels(self, values: Tensor) -> Tensor:
        y = self._y.repeat(len(values), 1)
        y[:, self._place] = values
        return y

    def _values(self) -> Tensor:
        return torch.linspace(self.scale.low, self.scale.high, CURVE, dtype=torch.float64)

    def _ask(self, session: Session, value: float | None, progress: Reporter | None) -> Answer:
        at = torch.tensor([self.scale.marks["as drawn"] if value is None else value], dtype=torch.float64)
        said = [("learner", self.learner(session, at)), *self.known(at).items()]
        return Answer(", ".join(f"{name} {float(each[0]):.3f}" for name, each in said))

    def figure(self) -> Figure | None:
        """Predictions over the moved label; the slope is how much the prediction leans on it."""
        if not self._curve:
            return None
        values = self._values()
        at = values.tolist()
        marks: list[Mark] = [Line(at, self._curve, "learner")]
        marks += [Line(at, each.tolist(), name) for name, each in self.known(values).items()]
        asked = sorted(one for one in dict(self.said) if one is not None)
        marks.append(Scatter(asked, np.interp(asked, at, self._curve).tolist(), "asked", secondary=True))
        marks.append(ReferenceLine(self.scale.marks["as drawn"], "x", "as drawn"))
        marks.append(ReferenceLine(self.true, "y", "true label"))
        return Figure(
            name="moved",
            title="What is predicted of the next label, over one label of the prompt",
            panels=[Panel(marks, Axis(f"label of pair {self._place + 1}"), Axis("prediction"))],
            caption="Of least squares the slope is an entry of its hat row. Linear algorithms have straight lines.",
            alt="Lines of predictions over the value of one label, of the learner, least squares, a ridge and a step.",
        )
