"""A check, once a model, that runs which go on from a cache are what the model computes over the whole text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .architectures import bare
from .cached_prompts import fill
from .engines.base import Engine, Hook, Inputs
from .sites import Site

_SHARED, _ENDS, _AFTER = (3, 1, 4), ((1, 5, 9, 2, 6, 5), (3, 5)), (8, 9)
"""Two prompts that begin alike, of two lengths, and what follows each."""
_WINDOWS = (
    "sliding_window",
    "attention_chunk_size",
    "attention_window_size",
    "window_size",
    "local_attention",
    "alibi",
)
"""Settings by which attention counts columns, padding included, beyond the few tokens of the check."""
_BY_LENGTH = ("longrope", "dynamic")
"""Rotations whose frequencies depend on the length of the text, so that kept keys go stale."""


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
    config: Any = bare(engine.model).config
    if types := sorted({*_rotations(config.to_dict())} & {*_BY_LENGTH}):
        return Checked(f"its rotation ({types[0]}) depends on the length of the text", False, alone=True)
    size = engine.architecture.shape.vocabulary
    prompts = [[token % size for token in (*_SHARED, *end)] for end in _ENDS]
    after = torch.tensor([[token % size for token in _AFTER]])
    with torch.no_grad():
        whole = [_ends(engine, Inputs(torch.tensor([[*prompt, *after[0].tolist()]]))) for prompt in prompts]
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
        found = _ends(engine, inputs)
    except Exception as error:  # a model's own code may say anything when it is handed a cache that it does not know
        return f"it cannot go on from a cache ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]})"
    coarse = torch.finfo(found.dtype).eps > 1e-4
    for row, prompt in enumerate(order):
        expected = whole[prompt][0, -len(steps) :].double()
        apart = (found[row].double() - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-30)
        if not bool((apart <= (0.1 if coarse else 1e-3)).all()):
            return "what it computes after a cache is not what it computes over the whole text"
    return None


def _ends(engine: Engine, inputs: Inputs) -> Tensor:
    """What every token has come to, `[batch, position, d_model]`: the normed end of the stream, else the logits.

    Logits may be nothing but rounding, in a model that has nothing to say after these tokens; the stream never is.
    """
    if "final_norm" not in engine.kinds():
        found = engine.run(inputs)
        assert found is not None
        return found
    kept: list[Tensor] = []
    engine.run(inputs, [Hook(Site("final_norm"), lambda whole: kept.append(whole.clone()))], logits=False)
    return kept[0]


def _by_positions(engine: Engine) -> bool:
    """Whether every layer is plain attention that goes by position ids, as far as the configuration tells."""
    if "pattern" not in engine.architecture.places:
        return False
    config: Any = bare(engine.model).config.get_text_config()  # type: ignore[operator, union-attr]
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds == {"full_attention"} and not any(getattr(config, name, None) for name in _WINDOWS)


def _rotations(told: Any) -> Iterator[str]:
    """Every kind of rotation that a configuration names, at any depth."""
    if isinstance(told, dict):
        for name, value in told.items():
            if name in ("rope_type", "type") and isinstance(value, str):
                yield value
            yield from _rotations(value)
