"""What a run will take: seconds by a calibration of the model on this machine, memory by what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import WorkbenchError
from ..formatting import byte_size
from ..internals import engine_checks
from ..internals.memory import SHARE, free_bytes
from ..probe.contract import Config, Probe, Work
from ..probe.setting_names import CHEAPER
from ..records.record import Plan
from .calibration import Calibration, calibrate

if TYPE_CHECKING:
    from ..internals.session import Session

_BACKWARD = 2.0
"""A backward pass to activations, the weights being frozen, costs about one more forward."""
_FIGURES = 6
"""Figures that a run draws, about."""
_CHECKS = 4
"""Short passes of a session's self-check."""


class SmallerSetting(NamedTuple):
    """A change that makes a run fit: a setting, or `preset`, its value, and the bytes that the run needs then."""

    setting: str
    value: Any
    bytes: int


class OverBudget(WorkbenchError):
    """A run would need more memory than it may take; `smaller` are changes with which it would fit."""

    def __init__(self, needed: int, allowed: int, smaller: Sequence[SmallerSetting]) -> None:
        self.needed, self.allowed, self.smaller = needed, allowed, tuple(smaller)
        super().__init__(self.told(lambda one: f"{one.setting}={one.value!r}", "allow it more memory"))

    def needs(self, subject: str = "this run") -> str:
        """What is too much, wherever it is read."""
        return f"{subject} needs about {byte_size(self.needed)} of memory and may take {byte_size(self.allowed)}"

    def told(self, name: Callable[[SmallerSetting], str], more: str) -> str:
        """The refusal with what can be done; `name` and `more` write a change as its reader would ask for it."""
        fits = " or ".join(f"{name(one)} ({byte_size(one.bytes)})" for one in self.smaller)
        offered = f"it would fit with {fits}" if fits else "no smaller setting of this probe fits"
        return f"{self.needs()}; {offered}; or {more}"


def _cache_bytes(session: Session, width: int) -> float:
    """Bytes of the keys and values of one token in all layers."""
    shape = session.shape
    return 2.0 * shape.layers * shape.kv_heads * shape.d_head * width


def _seconds(session: Session, work: Work, cost: Calibration, width: int) -> float:
    tokens = work.batch * work.length
    pair = cost.per_pair_with_statistics if work.statistics else cost.per_pair
    assert pair is not None, "calibrated without statistics"
    forward = cost.per_pass + cost.per_token * tokens + pair * tokens * work.length
    forward += cost.per_logit * _rows(work)
    if work.backward:
        forward *= _BACKWARD
    return work.passes * work.layers * (forward + _generating(session, work, cost, width))


def _generating(session: Session, work: Work, cost: Calibration, width: int) -> float:
    if not work.generated:
        return 0.0
    assert cost.per_step is not None, "calibrated without generation"
    # A decoding step reads the cache, and writes it anew with one more token.
    cached = work.batch * (work.length + work.generated / 2) * _cache_bytes(session, width)
    step = cost.per_step + cost.per_token * (work.batch - 1) + 2 * cost.per_cached_byte * cached
    return work.generated * step


def _beside(cost: Calibration) -> float:
    """Seconds of the self-check and of the figures."""
    return _CHECKS * (cost.per_pass + len(engine_checks.SHORT[0]) * cost.per_token) + _FIGURES * cost.per_figure


def _rows(work: Work) -> int:
    """Positions in one pass whose logits are computed."""
    if work.layers < 1:
        return 0
    if work.generated:
        return work.batch
    return work.batch * min(work.length, work.length if work.logits is None else work.logits)


def _bytes(session: Session, work: Work, width: int) -> int:
    """Bytes that one pass needs beside the weights: activations, key-value cache, logits."""
    shape = session.shape
    inner = getattr(session.model.config, "intermediate_size", None) or 4 * shape.d_model
    tokens = work.batch * work.length
    block = tokens * (6 * shape.d_model + 3 * inner + 3 * shape.heads * shape.d_head) * width
    activations = block * shape.layers if work.backward else block
    cache = work.batch * (work.length + work.generated) * _cache_bytes(session, width) if work.generated else 0
    # Logits are made in the model's type and read in float32.
    logits = _rows(work) * shape.outputs * (width + 4)
    return int(activations + cache + logits)


def weights(session: Session) -> tuple[int, int]:
    """Bytes of the weights, shared ones counted once, and bytes of one number in them."""
    kept = {parameter.data_ptr(): parameter for parameter in session.model.parameters()}.values()
    total = sum(parameter.numel() * parameter.element_size() for parameter in kept)
    return total, max((parameter.element_size() for parameter in kept), default=4)


def make_plan(probe: Probe, session: Session, config: Config, memory: int | None = None) -> Plan:
    """The plan of a run: passes, bytes (weights, activations and logits at their peak), seconds, and what it rests on.

    `memory` is the budget in bytes; by default 80 % of what is available beside the weights that are loaded already.
    """
    works = list(probe.work(session, config))
    cost = calibrate(session, any(work.statistics for work in works), any(work.generated for work in works))
    held, width = weights(session)
    return Plan(
        passes=sum(work.passes for work in works),
        bytes=held + _peak(session, works, width),
        seconds=sum(_seconds(session, work, cost, width) for work in works) + _beside(cost),
        budget=budget(session, memory),
        work=[asdict(work) for work in works],
        calibration={name: value for name, value in asdict(cost).items() if value is not None},
        outputs=["record.json", "data.zarr", "figures"],
    )


def _peak(session: Session, works: Sequence[Work], width: int) -> int:
    return max((_bytes(session, work, width) for work in works), default=0)


def budget(session: Session, memory: int | None = None) -> int:
    """The bytes that a run may take in all, weights included."""
    if memory is not None:
        return memory
    free = free_bytes(next(session.model.parameters()).device)
    return int(SHARE * (free + weights(session)[0]))


def refuse_over_budget(probe: Probe, session: Session, config: Config, plan: Plan) -> None:
    """Raise `OverBudget`, naming settings that would fit, if the plan needs more memory than it may take."""
    if plan.bytes > plan.budget:
        raise OverBudget(plan.bytes, plan.budget, smaller_settings(probe, session, config, plan.budget))


def smaller_settings(probe: Probe, session: Session, config: Config, allowed: int) -> list[SmallerSetting]:
    """Up to three changes that fit the budget."""
    held, width = weights(session)

    def needs(settings: Mapping[str, Any]) -> int | None:
        try:
            return held + _peak(session, probe.work(session, type(config)(**settings)), width)
        except ValueError:
            return None

    found: list[SmallerSetting] = []
    settings = config.model_dump()
    for name in (name for name in CHEAPER if isinstance(settings.get(name), int)):
        value = settings[name] // 2
        while value >= 1 and (needed := needs({**settings, name: value})) is not None:
            if needed <= allowed:
                found.append(SmallerSetting(name, value, needed))
                break
            value //= 2
    for preset in ("quick", "smoke"):
        needed = needs({**settings, **probe.presets[preset]})
        if len(found) < 3 and needed is not None and needed <= allowed:
            found.append(SmallerSetting("preset", preset, needed))
    return found[:3]
