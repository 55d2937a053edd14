"""What a live view asks of a model, and the answers that are kept for everyone who asks the same."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import UnknownName, UsageError, WorkbenchError
from ...probe.live_view import LONGEST, Live, SteeredPrompt
from ...probe.registry import PROBES
from ...records import store

if TYPE_CHECKING:
    from pathlib import Path

    from ...internals.session import Session
    from ...progress import Reporter
    from ...records.record import Record

KEPT = 64
"""Prompts whose answers are kept."""


@dataclass(frozen=True)
class LivePrompt:
    """A prompt of a live view: its texts by name, the model, and where what is turned comes from."""

    probe: str
    model: str
    adapter: str | None
    source: str
    """The id of a run, or nothing for what ships with the probe."""
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LiveRequest:
    """One value on a prompt; None asks for the first answers."""

    asking: LivePrompt
    value: float | None = None
    preset: ClassVar[str] = "live"

    @property
    def probe(self) -> str:
        return self.asking.probe

    @property
    def model(self) -> str:
        return self.asking.model

    @property
    def adapter(self) -> str | None:
        return self.asking.adapter


def live_of(probe: str) -> Live:
    """The live view of a probe; raises `UsageError` if it has none."""
    live = PROBES.get(probe).live()
    if live is None:
        raise UsageError(f"{probe} has no live view")
    return live


def check(asking: LivePrompt, runs: Path) -> None:
    """Raise `UsageError` for texts that the view does not have or that are too long, and for no or another source.

    Of the folder of runs it reads the one that is asked for, and the others only to say what there is.
    """
    live = live_of(asking.probe)
    names = [name for name, _ in asking.texts]
    if names != [text.name for text in live.texts]:
        raise UnknownName("text of this view", ", ".join(names), [text.name for text in live.texts])
    if (longest := max((len(text) for _, text in asking.texts), default=0)) > LONGEST:
        raise UsageError(f"{longest} signs are more than the {LONGEST} that a text may have")
    if asking.source in live.sources(asking.model, _named(asking, runs)).values():
        return
    records = list(store.records(runs, asking.probe))
    sources = live.sources(asking.model, records)
    if not sources:
        raise UsageError(live.missing(asking.model, records))
    asked = repr(asking.source) if asking.source else "what ships"
    raise UsageError(f"{asked} is not there for {asking.model}; there is: {', '.join(sources)}")


def _named(asking: LivePrompt, runs: Path) -> list[Record]:
    """The record of the run that is asked for, if it is there and of this probe."""
    if not asking.source or not store.has_run(runs, asking.source):
        return []
    try:
        record = store.read(runs / asking.source)
    except WorkbenchError:
        return []
    return [record] if record.probe == asking.probe else []


class LiveCache:
    """The last prompts with their answers; beyond the limit the one not looked at for the longest time is let go."""

    def __init__(self, limit: int = KEPT) -> None:
        self._limit = limit
        self._held: OrderedDict[LivePrompt, SteeredPrompt] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, asking: LivePrompt) -> SteeredPrompt | None:
        """The prompt with what was answered so far, if it was asked."""
        with self._lock:
            if asking in self._held:
                self._held.move_to_end(asking)
            return self._held.get(asking)

    def answer(self, question: LiveRequest, session: Session, runs: Path, longest: int, progress: Reporter) -> None:
        """Ask, and keep the answer.

        Raises `TooLong` for a prompt of more than `longest` tokens, and what the view raises.
        """
        from ...runs.run import Run
        from .limits import TooLong

        asking = question.asking
        turning = self.get(asking)
        if turning is None:
            run = Run(runs / asking.source) if asking.source else None
            turning = live_of(asking.probe).start(session, dict(asking.texts), run)
            if turning.tokens > longest:
                raise TooLong(
                    f"a prompt of {turning.tokens} tokens is longer than the {longest} of a live view; write less"
                )
            turning.begin(session, progress)
            with self._lock:
                self._held[asking] = turning
                while len(self._held) > self._limit:
                    self._held.popitem(last=False)
        if question.value is not None:
            turning.answer(session, question.value, progress)
