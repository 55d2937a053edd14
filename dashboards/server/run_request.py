"""What a visitor asks of a probe, as the queue takes it and a page says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...formatting import one_line
from ...records.record import Record


@dataclass(frozen=True)
class RunRequest:
    """What a visitor asked for: a probe on a model with these settings, or a run to go on with."""

    probe: str
    model: str
    adapter: str | None = None
    preset: str = "quick"
    seed: int = 0
    given: Mapping[str, Any] = field(default_factory=dict)
    resume: str | None = None

    @classmethod
    def again(cls, record: Record, resume: bool = False) -> RunRequest:
        """What a run asked for; with `resume`, to go on with that run itself."""
        return cls(
            record.probe,
            record.model.id,
            record.model.adapter.id if record.model.adapter else None,
            record.preset,
            record.spec.seed,
            dict(record.spec.given),
            record.id if resume else None,
        )

    @property
    def words(self) -> str:
        """What was asked, in one line."""
        model = f"{self.probe} on {self.model}" + (f" with {self.adapter}" if self.adapter else "")
        if self.resume is not None:
            return f"{model}, going on with {self.resume},"
        given = [f"{name} = {_short(value)}" for name, value in self.given.items()]
        return ", ".join([model, f"preset {self.preset}", *given]) + ","


def _short(value: Any) -> str:
    text = one_line(str(value))
    return text if len(text) <= 40 else f"{text[:39]}…"
