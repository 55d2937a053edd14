"""Prompts whose keys and values are kept, so that what follows them is run many times and they are not."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .edits import EditLike, Frame
from .engines.base import Engine, Inputs
from .hooks import edit_hooks
from .tokens import TokenBatch


@dataclass(frozen=True)
class CachedPrompts:
    """Prompts that were run, all of each or all but its last token.

    cache: keys and values of the tokens that were run. mask: bool `[batch, position]` of all tokens, left-padded. last:
    the id of each prompt's last token, `[batch]`. lengths: tokens of each prompt, `[batch]`. logits: those after the
    last token, `[batch, vocabulary]`, where it was run.
    """

    cache: Any
    mask: Tensor
    last: Tensor
    lengths: Tensor
    logits: Tensor | None = None

    def pick(self, rows: Sequence[int]) -> CachedPrompts:
        """Some of the prompts, each as often as it is named; the copy can be run on without touching this one."""
        index = torch.tensor(list(rows))
        logits = None if self.logits is None else self.logits[index.to(self.logits.device)]
        return CachedPrompts(
            _picked(self.cache, index), self.mask[index], self.last[index], self.lengths[index], logits
        )

    def inputs(self) -> Inputs:
        """The run of the last tokens, where they were held back."""
        return Inputs(self.last[:, None], self.mask, (self.lengths - 1)[:, None], self.cache)

    def follow(self, ids: Tensor) -> Inputs:
        """The run of tokens `[batch, position]` after prompts that were run whole."""
        mask = torch.cat([self.mask, torch.ones(ids.shape, dtype=torch.bool)], dim=1)
        return Inputs(ids, mask, self.lengths[:, None] + torch.arange(ids.shape[1]), self.cache)


def fill(
    engine: Engine, prompts: Sequence[Sequence[int]], share: bool, hold_back: int = 1, edits: EditLike = ()
) -> CachedPrompts:
    """Run prompts, of at least two tokens where the last is held back; nothing is checked, and no lock is taken.

    With `share`, what all of them begin with is run once; edits go without it.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    shared = _begin_alike(prompts) if share else 0
    width = int(lengths.max()) - shared
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) + shared :] = torch.tensor(list(prompt[shared:]))
    pad = (width + shared - lengths)[:, None]
    mask = torch.cat([torch.ones(len(prompts), shared, dtype=torch.bool), torch.arange(width) >= pad], dim=1)
    positions = shared + (torch.arange(width) - pad).clamp(min=0)
    hooks = edit_hooks(engine, edits, Frame(TokenBatch.of(prompts), left=True)) if edits else ()
    cache = engine.new_cache()
    logits = None
    with torch.no_grad():
        if shared:
            engine.run(Inputs(torch.tensor([list(prompts[0][:shared])]), cache=cache), logits=torch.tensor([0]))
            cache.reorder_cache(torch.zeros(len(prompts), dtype=torch.int64))
        if width > hold_back:
            last = width - hold_back
            part = Inputs(ids[:, :last], mask[:, : shared + last], positions[:, :last], cache)
            logits = engine.run(part, hooks, logits=torch.tensor([last - 1]))
    return CachedPrompts(cache, mask, ids[:, -1], lengths, None if hold_back or logits is None else logits[:, -1])


def _begin_alike(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all prompts have in common, at least one of each left over."""
    shortest = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    return next((at for at in range(shortest) if any(prompt[at] != first[at] for prompt in prompts)), shortest)


def _picked(cache: Any, index: Tensor) -> Any:
    """A cache of some rows that shares nothing which a run would write into."""
    # layers of keys and values replace their tensors and never write into them; those of states hold them in dicts
    picked = copy.copy(cache)
    picked.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in picked.layers:
        for name, value in vars(layer).items():
            if isinstance(value, dict):
                setattr(layer, name, dict(value))
    picked.reorder_cache(index)
    return picked
