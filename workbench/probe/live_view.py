"""What a probe lets a reader turn while a model answers: one number, the values that have names, an answer at each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..progress import Reporter

if TYPE_CHECKING:
    from ..figures import Figure
    from ..internals.session import Session
    from ..records.record import Record

LONGEST = 20_000
"""Signs of a text that a reader may write."""


@dataclass(frozen=True)
class SliderRange:
    """The values that can be set, and those that have a name, in the order in which a reader wants them."""

    low: float
    high: float
    step: float
    marks: Mapping[str, float]

    def nearest(self, value: float) -> float:
        """A value as it is meant: a named one exactly, where a slider has rounded it to its steps."""
        near = min(self.marks.values(), key=lambda mark: abs(mark - value))
        return near if abs(near - value) <= self.step / 2 else min(max(float(value), self.low), self.high)

    def name(self, value: float | None) -> str:
        """What a value is called; empty for one without a name."""
        return next((name for name, mark in self.marks.items() if mark == value), "")


@dataclass(frozen=True)
class Answer:
    """An answer, and the probability of its possible beginnings by name."""

    text: str
    chances: Mapping[str, float] = field(default_factory=dict)


class SteeredPrompt(ABC):
    """One prompt under one number. `said` holds the answers so far; None stands for the model as it is."""

    def __init__(self, scale: SliderRange, tokens: int) -> None:
        self.scale, self.tokens = scale, tokens
        self.said: dict[float | None, Answer] = {}

    def answer(self, session: Session, value: float | None, progress: Reporter | None = None) -> Answer:
        """The answer at a value, asked once."""
        at = None if value is None else self.scale.nearest(value)
        if at not in self.said:
            self.said[at] = self._ask(session, at, progress)
        return self.said[at]

    def begin(self, session: Session, progress: Reporter | None = None) -> None:
        """Ask without the number, and at the values that have names."""
        progress = progress or Reporter()
        for value in progress.steps([None, *self.scale.marks.values()], "first answers"):
            self.answer(session, value, Reporter(cancelled=progress.cancelled))

    def rows(self) -> list[tuple[str, float | None, Answer]]:
        """Name, value and answer of everything that was asked, in the order of the values."""
        asked = dict(self.said)
        order = sorted(asked, key=lambda value: (value is not None, value or 0.0))
        return [(self.scale.name(value), value, asked[value]) for value in order]

    def figure(self) -> Figure | None:
        """A picture of the answers over the number; None where there is none."""
        return None

    @abstractmethod
    def _ask(self, session: Session, value: float | None, progress: Reporter | None) -> Answer: ...


@dataclass(frozen=True)
class Text:
    """A text that the reader writes."""

    name: str
    label: str
    first: str
    """What stands there until somebody writes."""
    help: str
    rows: int = 3


class FinishedRun(Protocol):
    """What a live view reads of a run: its record, its data and its tensors."""

    @property
    def id(self) -> str: ...
    @property
    def typed_record(self) -> Record: ...
    @property
    def data(self) -> Any: ...
    @property
    def tensors(self) -> Mapping[str, Any]: ...


class Live(ABC):
    """A live view of a probe: what it asks for and what it turns. It has a page, `/live/<name of the probe>`."""

    title: str
    about: str
    turned: str
    """What the number is, in words for the slider."""
    plain: str
    """What the model without the number is called."""
    source: str
    """What the choice among sources is called."""
    texts: Sequence[Text]

    @abstractmethod
    def sources(self, model: str, records: Iterable[Record]) -> dict[str, str]:
        """Where what is turned can come from on a model: what a reader calls it, and the id of a run, or nothing for
        what ships with the probe."""

    @abstractmethod
    def missing(self, model: str, records: Iterable[Record]) -> str:
        """What to say where there is no source: what was asked, what there is, what to do."""

    @abstractmethod
    def start(self, session: Session, texts: Mapping[str, str], run: FinishedRun | None) -> SteeredPrompt:
        """The number on a prompt made of the texts, before anything was asked.

        Raises `UsageError` for texts, a model or a run that it cannot be had for.
        """

    @abstractmethod
    def snippet(self, model: str, adapter: str | None, texts: Mapping[str, str], run: str | None) -> str:
        """Lines of Python that show the same in a notebook; `run` is the path of the run that it is taken from."""
