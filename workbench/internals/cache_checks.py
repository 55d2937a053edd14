"""A check, once a model, that runs which go on from a cache are what the model computes over the whole text."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .cached_prompts import fill
from .engines.base import Engine, Inputs
from .stream_end import stream_end

_SHARED, _ENDS, _AFTER = (3, 1, 4), ((1, 5, 9, 2, 6, 5), (3, 5)), (8, 9)
"""Two prompts that begin alike, of two lengths, and what follows each."""


class Checked(NamedTuple):
    """Whether prompts may be run in parts, and how.

    why: the reason why they may not, otherwise None. padding_between: whether padding may stand between what prompts
    have in common and the rest of each. alone: whether even whole texts must be run one by one.
    """

    why: str | None
    padding_between: bool
    alone: bool = False


_made: WeakKeyDictionary[Engine, Checked] = WeakKeyDictionary()


def checked(engine: Engine) -> Checked:
    """The verdict on a model, from its configuration and from a few tokens that are run both ways the first time."""
    if engine not in _made:
        _made[engine] = _check(engine)
    return _made[engine]


def _check(engine: Engine) -> Checked:
    if engine.architecture.length_dependent is not None:
        return Checked(f"{engine.architecture.length_reason} depend on the length of the text", False, alone=True)
    size = engine.architecture.shape.vocabulary
    prompts = [[token % size for token in (*_SHARED, *end)] for end in _ENDS]
    after = torch.tensor([[token % size for token in _AFTER]])
    with torch.no_grad():
        whole = [stream_end(engine, Inputs(torch.tensor([[*prompt, *after[0].tolist()]]))) for prompt in prompts]
        why = _differs(engine, prompts, after, whole, share=False)
        between = why is None and _by_positions(engine) and not _differs(engine, prompts, after, whole, share=True)
    return Checked(why, between)


def _differs(engine: Engine, prompts: list[list[int]], after: Tensor, whole: list[Tensor], share: bool) -> str | None:
    """Why what follows prompts that were kept and branched is not what follows the whole texts; None if it is."""
    order = [1, 0, 1]
    try:
        kept = fill(engine, prompts, share).pick(order)
        ids = torch.cat([kept.last[:, None], after.expand(len(order), -1)], dim=1)
        steps = torch.arange(ids.shape[1])
        mask = torch.cat([kept.mask, torch.ones(len(order), len(steps) - 1, dtype=torch.bool)], dim=1)
        inputs = Inputs(ids, mask, (kept.lengths - 1)[:, None] + steps, kept.cache)
        found = stream_end(engine, inputs)
    except Exception as error:  # a model's own code may say anything when it is handed a cache that it does not know
        return f"it cannot go on from a cache ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]})"
    coarse = torch.finfo(found.dtype).eps > 1e-4
    for row, prompt in enumerate(order):
        expected = whole[prompt][0, -len(steps) :].double()
        apart = (found[row].double() - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-30)
        if not bool((apart <= (0.1 if coarse else 1e-3)).all()):
            return "what it computes after a cache is not what it computes over the whole text"
    return None


def _by_positions(engine: Engine) -> bool:
    """Whether every layer is plain attention that goes by position ids: in others columns of padding may count."""
    return all(
        layer.kind == "full" and "pattern" in layer.places and layer.places["pattern"].side == "attention"
        for layer in engine.architecture.layers
    )
