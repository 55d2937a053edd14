"""The live view of in-context regression: a task is drawn, one label is moved, and predictions are seen to follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from workbench.errors import UsageError
from workbench.probe.live_view import Live, Text

from .asking import task_of
from .config import IclRegressionConfig
from .moved_label import MovedLabel
from .probe import IclRegression
from .shipped import names

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.probe.live_view import FinishedRun
    from workbench.records.record import Record


def live() -> LiveLabel:
    """The live view of the probe."""
    return LiveLabel()


class LiveLabel(Live):
    """A slider over the value of one label."""

    title = "Move one label of a prompt"
    about = (
        "A task is drawn, and the learner is asked for the label of a further input. Where one label of the prompt is "
        "moved, its prediction follows, and so do those of least squares, a ridge and a gradient step of the best size."
    )
    turned = "Value of the label"
    plain = "the prompt as it was drawn"
    source = "Task"
    texts = (
        Text("task", "Task", "0", "A whole number from 0 on; each draws another task.", 1),
        Text("pairs", "Pairs before the query", "6", "How many pairs (x, y) the learner sees.", 1),
        Text("label", "Moved label", "1", "Of which pair the label is moved, from 1 on.", 1),
    )

    def sources(self, model: str, records: Iterable[Record]) -> dict[str, str]:
        found = {"as the learner was trained on": ""} if model in names() else {}
        runs = [each for each in records if _holds(each) and each.model.id == model]
        return found or {f"as in the run of {run.created} ({run.id[-8:]})": run.id for run in runs}

    def missing(self, model: str, records: Iterable[Record]) -> str:
        also = sorted({each.model.id for each in records if _holds(each)} - set(names()))
        return (
            f"{model} is no learner of regression that is known here: choose one of {', '.join([*names(), *also])}, "
            f"or run {IclRegression.name} on one of your own first."
        )

    def start(self, session: Session, texts: Mapping[str, str], run: FinishedRun | None) -> MovedLabel:
        if reason := IclRegression().unsuitable(session):
            raise UsageError(reason)
        seed, pairs, label = (whole(text.label, texts[text.name]) for text in self.texts)
        return MovedLabel(task_of(session, IclRegressionConfig.model_validate({"prefixes": (1,)})), seed, pairs, label)

    def snippet(self, model: str, adapter: str | None, texts: Mapping[str, str], run: str | None) -> str:
        written = {text.name: texts[text.name] for text in self.texts}
        return (
            "import workbench as wb\n"
            "from workbench.probes.icl_regression.live_view import live\n\n"
            f"session = wb.load({model!r})\n"
            f"prompt = live().start(session, {written!r}, None)\n"
            "prompt.begin(session)\n"
            "prompt.figure()"
        )


def _holds(record: Record) -> bool:
    return record.probe == IclRegression.name and record.status == "success"


def whole(label: str, text: str) -> int:
    """The whole number that a reader wrote.

    Raises `UsageError` for anything else, and for one below 0.
    """
    try:
        found = int(text.strip())
    except ValueError:
        found = -1
    if not 0 <= found < 1 << 63:
        raise UsageError(f"{label}: write a whole number from 0 on, not {text.strip()[:40]!r}")
    return found
