"""What a model says at every token of given answers, at its last layer and at lower ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.errors import UsageError
from workbench.internals.affine_maps import AffineMaps
from workbench.internals.answer_logprobs import answer_logits
from workbench.internals.engines.base import Hook, Inputs
from workbench.internals.prefix_cache import prefill
from workbench.internals.unembedding import Unembedding

from .method.layers import site_of
from .method.readings import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.internals.cached_prompts import CachedPrompts
    from workbench.internals.edits import EditLike
    from workbench.internals.lens import Through
    from workbench.internals.session import Session

Ids = Sequence[int]


def read(
    session: Session,
    prompts: Sequence[Ids],
    answers: Sequence[Sequence[Ids]],
    states: Sequence[int] = (),
    edits: EditLike = (),
    through: Through = "raw",
) -> list[Reading]:
    """What is said before each token of each prompt's answers, `[row, …]`, the answers of one prompt after each other.

    Every prompt is run once. `states` are the hidden states that are kept beside the logits, and `through` says how
    they come to the unembedding. Raises `UsageError` for edits together with states.
    """
    if not states:
        with session.lock:
            parts: list[list[Tensor]] = [[] for _ in prompts]
            for prompt, _, logits in answer_logits(session.hooked.engine, prompts, answers, edits):
                parts[prompt].append(logits.float())
        return [Reading(torch.cat(each)) for each in parts]
    if edits:
        raise UsageError("lower layers are read of a model without edits")
    whole = _read(session, prefill(session, prompts), answers, states, unembedding(session, through))
    borders = np.cumsum([0, *(sum(map(len, several)) for several in answers)])
    return [
        Reading(whole.logits[a:b], {index: rows[a:b] for index, rows in whole.states.items()}, whole.unembed)
        for a, b in pairwise(borders.tolist())
    ]


def unembedding(session: Session, through: Through) -> Callable[[int, Tensor], Tensor]:
    """From a hidden state and rows of it to logits."""
    way = Unembedding.of(session.hooked.engine)

    def unembed(index: int, rows: Tensor) -> Tensor:
        mapped = through(site_of(index), rows) if isinstance(through, AffineMaps) else rows
        with torch.no_grad():
            return way.logits(mapped, norm=through != "raw")

    return unembed


def _read(
    session: Session,
    waiting: CachedPrompts,
    answers: Sequence[Sequence[Ids]],
    states: Sequence[int],
    unembed: Callable[[int, Tensor], Tensor],
) -> Reading:
    """All answers of all prompts in one run, their tokens after each other."""
    picked = waiting.pick([row for row, several in enumerate(answers) for _ in several])
    flat = [answer for several in answers for answer in several]
    width = max(map(len, flat))
    ids = torch.zeros(len(flat), width, dtype=torch.int64)
    real = torch.zeros(ids.shape, dtype=torch.bool)
    for place, answer in enumerate(flat):
        ids[place, : len(answer)] = torch.tensor([int(picked.last[place]), *answer[:-1]])
        real[place, : len(answer)] = True
    mask = torch.cat([picked.mask, torch.ones(len(flat), width - 1, dtype=torch.bool)], dim=1)
    positions = (picked.lengths - 1)[:, None] + torch.arange(width)
    seen: dict[int, Tensor] = {}

    def keep(index: int) -> Hook:
        return Hook(site_of(index), lambda whole: seen.__setitem__(index, whole[real.to(whole.device)].clone()))

    with session.lock, torch.no_grad():
        inputs = Inputs(ids, mask, positions, picked.cache)
        logits = session.hooked.engine.run(inputs, [keep(index) for index in states], logits=torch.arange(width))
    assert logits is not None
    return Reading(logits[real.to(logits.device)].float(), seen, unembed)
