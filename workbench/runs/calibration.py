"""What a model costs on this machine, timed once a session: only what the planned work asks for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..internals.values import example

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..internals.architectures import Shape
    from ..internals.prompts import Prompt
    from ..internals.session import Session

_SHORT, _LONG, _SIDE = 16, 96, 1024
"""Tokens of a short and of a long pass, and of the attention that is timed by itself."""
_STEPS = 4
"""Tokens of a generation that is timed, after a prompt of one: each is a decoding step."""


@dataclass(frozen=True)
class Calibration:
    """Seconds of this model on this machine: what one pass, token, pair of positions, row of logits, byte of the cache
    and figure cost; where they were asked for, a pair with the statistics of its attention and a decoding step."""

    per_pass: float
    per_token: float
    per_pair: float
    per_logit: float
    per_cached_byte: float
    per_figure: float
    per_pair_with_statistics: float | None = None
    per_step: float | None = None


_calibrations: WeakKeyDictionary[Any, Calibration] = WeakKeyDictionary()


def calibrate(session: Session, statistics: bool = False, generation: bool = False) -> Calibration:
    """Time once: a short and a long forward, one layer's attention, a copy, a figure.

    What attention costs with its statistics, and a decoding step, are timed when they are first asked for. It takes the
    session's turn, and nothing else that another thread may hold meanwhile: who has the turn of one session can plan,
    and planning of one session waits for no other.
    """
    known = _calibrations.get(session)
    if known is not None and not _missing(known, statistics, generation):
        return known
    with session.lock:
        found = _calibrations.get(session) or _forward(session)
        if statistics and found.per_pair_with_statistics is None:
            found = replace(found, per_pair_with_statistics=max(_with_statistics(session), found.per_pair))
        if generation and found.per_step is None:
            found = replace(found, per_step=max(_step(session), found.per_token))
        _calibrations[session] = found
        return found


def _missing(known: Calibration, statistics: bool, generation: bool) -> bool:
    return (statistics and known.per_pair_with_statistics is None) or (generation and known.per_step is None)


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


def _forward(session: Session) -> Calibration:
    import torch

    shape, device, dtype = _of(session)
    short, long = _lengths(shape)

    def forward(length: int, positions: list[int] | None) -> Callable[[], object]:
        given = _given(shape, length)
        return lambda: session.logits(given, positions)

    at_short, at_long = _least(forward(short, [-1]), device), _least(forward(long, [-1]), device)
    per_logit = max(_least(forward(long, None), device, 1) - at_long, 0.0) / (long - 1)

    with torch.inference_mode():
        states = torch.randn(1, shape.heads, _SIDE, shape.d_head, device=device, dtype=dtype)
        attend = torch.nn.functional.scaled_dot_product_attention
        per_pair = shape.layers * _least(lambda: attend(states, states, states, is_causal=True), device, 3) / _SIDE**2
        block = torch.empty(32 * 2**20, dtype=torch.uint8, device=device)
        per_byte = _least(block.clone, device, 3) / block.numel()

    grown = max(at_long - at_short - per_pair * (long**2 - short**2), 0.05 * at_long)
    per_token = grown / (long - short)
    per_pass = max(at_short - per_token * short - per_pair * short**2, 0.0)
    return Calibration(per_pass, per_token, per_pair, per_logit, per_byte, _drawing())


def _with_statistics(session: Session) -> float:
    """Seconds of one pair of positions with the statistics of its attention, in all layers; 0 where there are none."""
    import torch

    shape, device, dtype = _of(session)
    with torch.inference_mode():
        states = torch.randn(1, shape.heads, _SIDE, shape.d_head, device=device, dtype=dtype)
        keys = states[:, : shape.kv_heads].contiguous()
        try:
            return shape.layers * _least(lambda: _statistics(states, keys), device) / _SIDE**2
        except ValueError:  # the kernels do not serve this type or device, which a run that needs them will say
            return 0.0


def _step(session: Session) -> float:
    """Seconds of one decoding step; 0 for a model that has no words to decode."""
    shape, device, _ = _of(session)
    if not shape.vocabulary:
        return 0.0

    def generate(count: int) -> Callable[[], object]:
        return lambda: session.generate([[1 % shape.vocabulary]], count, stop=[])

    generate(1)()  # before its first, a session looks at what the model makes of a cache
    steps = max(1, min(_STEPS, (shape.context or 4096) - 1))
    return _least(generate(steps), device) / steps


def _of(session: Session) -> tuple[Shape, str, torch.dtype]:
    parameter = next(session.model.parameters())
    return session.shape, str(parameter.device), parameter.dtype


def _lengths(shape: Shape) -> tuple[int, int]:
    context = shape.context or 4096
    return max(1, min(_SHORT, context // 4)), max(2, min(_LONG, context // 2))


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
    cell = Panel([Heatmap(np.eye(1), [0], [0], "share")], Axis("head"), Axis("layer"))
    first = Figure("first", "One cell", [cell], caption="", alt="One cell.")
    with tempfile.TemporaryDirectory() as folder:
        save(first, folder)  # the libraries that draw are imported meanwhile
        return _least(lambda: save(picture, folder), "cpu", 1)
