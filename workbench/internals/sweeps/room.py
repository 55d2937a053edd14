"""How many edited rows fit into the memory at once."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UsageError
from ...formatting import byte_size, parse_size
from ..engines.base import Engine
from ..memory import SHARE, free_bytes
from ..sites import Site
from .cell_runs import kept_bytes, token_bytes
from .reading import site_bytes

MOST = {"cpu": 1 << 11}
"""Tokens of edited rows that are run at once, at the most, by kind of device: more leave the processor's cache."""
MOST_ELSEWHERE = 1 << 13


def room_for(
    engine: Engine, sites: Sequence[Site], width: int, columns: int, memory: int | str | None, backward: bool = False
) -> int:
    """How many tokens of edited rows of `width` tokens are run at once, with the logits of `columns` of each.

    sites: those that are read in the run without edits. backward: whether gradients are taken. Raises `UsageError`
    where not even one row fits.
    """
    if isinstance(memory, str):
        try:
            memory = parse_size(memory)
        except ValueError as error:
            raise UsageError(f"memory: {error}") from error
    budget = int(SHARE * free_bytes(engine.device)) if memory is None else memory
    each = token_bytes(engine, width)
    logits = 3 * columns * engine.architecture.shape.vocabulary * 4
    fixed = kept_bytes(engine, width) + (2 + backward) * site_bytes(engine, sites, width) + 2 * logits
    fixed += backward * engine.architecture.shape.layers * each * width
    needed = fixed + each * width + logits
    if needed > budget:
        raise UsageError(
            f"a sweep over {width} tokens needs {byte_size(needed)} for one edited row at a time, and may take "
            f"{byte_size(budget)}: give shorter prompts, fewer layers or kinds, or a larger memory="
        )
    most = MOST.get(engine.device.type, MOST_ELSEWHERE)
    return max(width, min(most, (budget - fixed) // (each + logits // width)))
