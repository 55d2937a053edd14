"""A run before it starts: its settings resolved, the model found suitable, its cost planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..internals.chat_text import clock_at, now, reads_clock
from ..probe import settings
from ..probe.contract import Config, Probe
from ..probe.registry import PROBES
from ..records.record import Plan
from . import plan as planning

if TYPE_CHECKING:
    from ..internals.session import Session


@dataclass(frozen=True)
class Prepared:
    """A run that could start: everything is resolved and checked, and nothing is written yet."""

    probe: Probe
    session: Session
    preset: str
    seed: int
    given: dict[str, Any]
    config: Config
    plan: Plan
    clock: datetime | None = None
    """What chat templates are told the time is, where the tokenizer's asks for it."""


def prepare(
    probe: str | Probe,
    session: Session,
    preset: str = "quick",
    seed: int = 0,
    given: Mapping[str, Any] | None = None,
    memory: int | None = None,
    resolved: Mapping[str, Any] | None = None,
    clock: datetime | None = None,
) -> Prepared:
    """Resolve the settings of a run and plan it. `clock` is the time that chat templates are told, None for now.

    `resolved` are settings as an earlier run had resolved them: they hold though presets or defaults have changed
    since, and the record still tells them apart from what was given. Raises `UnknownName` or `UsageError` for wrong
    settings or a model that the probe does not suit.
    """
    found = PROBES.get(probe) if isinstance(probe, str) else probe
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"a seed is a whole number from 0 on, not {seed!r}")
    config = settings.resolve(found.Config, found.presets, preset, given or {} if resolved is None else resolved)
    moment = (clock or now()).replace(microsecond=0) if reads_clock(session.tokenizer) else None
    with clock_at(moment):
        if why := found.unsuitable(session):
            raise UsageError(f"the probe {found.name!r} does not suit {session.info.id!r}: {why}")
        plan = planning.make_plan(found, session, config, memory)
    return Prepared(found, session, preset, seed, dict(given or {}), config, plan, moment)
