"""What a run will take, from a short calibration of the model on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from ..errors import WorkbenchError
from ..formatting import byte_size
from ..internals import engine_checks
from ..internals.memory import SHARE, free_bytes
from ..internals.values import example
from ..probe.contract import Config, Probe, Work
from ..probe.setting_names import CHEAPER
from ..records.record import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from ..internals.architectures import Shape
    from ..internals.prompts import Prompt
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


@dataclass(frozen=True)
class Calibration:
    """Seconds of this model on this machine: what one pass, token, pair of positions (also with the statistics of its
    attention), row of logits, decoding step, byte of the cache and figure cost."""

    per_pass: float
    per_token: float
    per_pair: float
    per_pair_with_statistics: float
    per_logit: float
    per_step: float
    per_cached_byte: float
    per_figure: float


_calibrations: WeakKeyDictionary[Any, Calibration] = WeakKeyDictionary()


def calibrate(session: Session) -> Calibration:
    """Time once: a short and a long forward, one layer's attention, a few decoding steps, a copy, a figure.

    It takes the session's turn, and nothing else that another thread may hold meanwhile: who has the turn of one
    session can plan, and planning of one session waits for no other.
    """
    if (known := _calibrations.get(session)) is not None:
        return known
    with session.lock:
        if session not in _calibrations:
            _calibrations[session] = _measure(session)
        return _calibrations[session]


def _least(work: Callable[[], object], device: str, repeats: int = 2) -> float:
    """The shortest of a few timings: what else runs on the machine only ever adds."""
    import torch

    def once() -> float:
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return min(once() for _ in range(repeats))


def _measure(session: Session) -> Calibration:
    import torch

    shape = session.shape
    parameter = next(session.model.parameters())
    device, dtype = str(parameter.device), parameter.dtype
    context = shape.context or 4096
    short, long = max(1, min(16, context // 4)), max(2, min(192, context // 2))

    def forward(length: int, positions: list[int] | None) -> Callable[[], object]:
        given = _given(shape, length)
        return lambda: session.logits(given, positions)

    forward(short, [-1])()
    at_short, at_long = _least(forward(short, [-1]), device, 3), _least(forward(long, [-1]), device)
    per_logit = max(_least(forward(long, None), device) - at_long, 0.0) / (long - 1)

    side = 1024
    with torch.inference_mode():
        states = torch.randn(1, shape.heads, side, shape.d_head, device=device, dtype=dtype)
        attend = torch.nn.functional.scaled_dot_product_attention
        per_pair = shape.layers * _least(lambda: attend(states, states, states, is_causal=True), device, 3) / side**2
        keys = states[:, : shape.kv_heads].contiguous()
        try:
            with_statistics = shape.layers * _least(lambda: _statistics(states, keys), device, 3) / side**2
        except ValueError:  # the kernels do not serve this type or device, which a run that needs them will say
            with_statistics = 0.0
        block = torch.empty(32 * 2**20, dtype=torch.uint8, device=device)
        per_byte = _least(block.clone, device, 3) / block.numel()

    grown = max(at_long - at_short - per_pair * (long**2 - short**2), 0.05 * at_long)
    per_token = grown / (long - short)
    per_pass = max(at_short - per_token * short - per_pair * short**2, 0.0)

    few, many = 2, 8

    def generate(count: int) -> float:
        ids = [[1 % shape.vocabulary] * max(1, min(short, context - many - 1))]
        return _least(lambda: session.generate(ids, count, stop=[]), device)

    grows = (generate(many) - generate(few)) / (many - few) if shape.vocabulary else 0.0
    per_step = max(grows, per_token)
    return Calibration(
        per_pass, per_token, per_pair, max(with_statistics, per_pair), per_logit, per_step, per_byte, _drawing()
    )


def _given(shape: Shape, length: int) -> Prompt:
    """One row for a model to run: token ids, or values where it has no vocabulary."""
    if shape.d_in is not None:
        return example(shape.d_in, [length])
    return [[(7 * index + 1) % shape.vocabulary for index in range(length)]]


def _statistics(q: Tensor, k: Tensor) -> object:
    from ..internals.layer_statistics import ROWS
    from ..kernels import attention_stats

    return attention_stats(q, k, k, stats=(*ROWS, "out"), received="sum")


@cache
def _drawing() -> float:
    """Seconds that one small figure takes to draw and save."""
    import numpy as np

    from ..figures import Axis, Figure, Heatmap, Panel, save

    grid = Panel([Heatmap(np.eye(30, 9), range(9), range(30), "share")], Axis("head"), Axis("layer"))
    picture = Figure("calibration", "Two grids", [grid, grid], caption="", alt="Two grids.")
    with tempfile.TemporaryDirectory() as folder:
        return _least(lambda: save(picture, folder), "cpu")


def _cache_bytes(session: Session, width: int) -> float:
    """Bytes of the keys and values of one token in all layers."""
    shape = session.shape
    return 2.0 * shape.layers * shape.kv_heads * shape.d_head * width


def _seconds(session: Session, work: Work, cost: Calibration, width: int) -> float:
    tokens = work.batch * work.length
    pair = cost.per_pair_with_statistics if work.statistics else cost.per_pair
    forward = cost.per_pass + cost.per_token * tokens + pair * tokens * work.length
    forward += cost.per_logit * _rows(work)
    if work.backward:
        forward *= _BACKWARD
    # A decoding step reads the cache, and writes it anew with one more token.
    cached = work.batch * (work.length + work.generated / 2) * _cache_bytes(session, width)
    step = cost.per_step + cost.per_token * (work.batch - 1) + 2 * cost.per_cached_byte * cached
    return work.passes * work.layers * (forward + work.generated * step)


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
    cost = calibrate(session)
    held, width = weights(session)
    return Plan(
        passes=sum(work.passes for work in works),
        bytes=held + _peak(session, works, width),
        seconds=sum(_seconds(session, work, cost, width) for work in works) + _beside(cost),
        budget=budget(session, memory),
        work=[asdict(work) for work in works],
        calibration=asdict(cost),
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
