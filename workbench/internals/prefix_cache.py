"""Prompts are run up to their last token once; what is changed at that token, and what follows, is run many times."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .edits import Edit, Frame
from .engines.base import Hook, Inputs
from .sites import Site
from .tokens import TokenBatch

if TYPE_CHECKING:
    from ..progress import Reporter
    from .session import Session

NEW = 8
"""Tokens that an answer may take."""
ROWS = 24
"""Prompts that are run at once."""


@dataclass(frozen=True)
class CachedPrompts:
    """Prompts that were run but for their last token.

    cache: keys and values of all tokens before it. mask: bool `[batch, position]`, the last token included. last: its
    id, `[batch]`. lengths: tokens of each prompt, `[batch]`.
    """

    cache: Any
    mask: Tensor
    last: Tensor
    lengths: Tensor

    def pick(self, rows: Sequence[int]) -> CachedPrompts:
        """Some of the prompts, each as often as it is named; the copy can be run on without touching this one."""
        index = torch.tensor(list(rows))
        # the layers of a cache replace their tensors and never write into them, so the tensors can be shared
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        cache.batch_select_indices(index)
        return CachedPrompts(cache, self.mask[index], self.last[index], self.lengths[index])

    def inputs(self) -> Inputs:
        return Inputs(self.last[:, None], self.mask, (self.lengths - 1)[:, None], self.cache)


def prefill(session: Session, prompts: Sequence[Sequence[int]]) -> CachedPrompts:
    """Run prompts of at least two tokens up to their last one; what all of them begin with is run once."""
    engine = session.hooked.engine
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    shared = _shared(session, prompts)
    width = int(lengths.max()) - shared
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) + shared :] = torch.tensor(list(prompt[shared:]))
    pad = (width + shared - lengths)[:, None]
    mask = torch.cat([torch.ones(len(prompts), shared, dtype=torch.bool), torch.arange(width) >= pad], dim=1)
    positions = shared + (torch.arange(width) - pad).clamp(min=0)
    cache = engine.new_cache()
    with session.lock, torch.no_grad():
        if shared:
            engine.run(Inputs(torch.tensor([list(prompts[0][:shared])]), cache=cache), logits=torch.tensor([0]))
            # an index on the CPU fits every layer of a model that is spread over devices
            cache.batch_select_indices(torch.zeros(len(prompts), dtype=torch.int64))
        if width > 1:
            engine.run(Inputs(ids[:, :-1], mask[:, :-1], positions[:, :-1], cache), logits=torch.tensor([0]))
    return CachedPrompts(cache, mask, ids[:, -1], lengths)


def _shared(session: Session, prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens are run once for all prompts: none where a window counts the padding after them."""
    if len(prompts) == 1 or getattr(session.model.config, "sliding_window", None):
        return 0
    shortest = min(len(prompt) for prompt in prompts) - 1
    first = prompts[0]
    return next((at for at in range(shortest) if any(prompt[at] != first[at] for prompt in prompts)), shortest)


def run(session: Session, waiting: CachedPrompts, taps: Sequence[Hook] = ()) -> Tensor:
    """Run the last token of picked prompts under taps; the logits after it `[batch, vocabulary]`, in float32."""
    with session.lock:
        logits = session.hooked.engine.run(waiting.inputs(), taps, logits=torch.tensor([0]))
    assert logits is not None
    return logits[:, -1].float()


def residuals(session: Session, waiting: CachedPrompts, layers: Sequence[int]) -> Tensor:
    """The residual stream after blocks, at the last token: `[layer, batch, d_model]`."""
    kept: dict[int, Tensor] = {}

    def tap(layer: int) -> Hook:
        return Hook(Site("resid_post", layer), lambda whole: kept.__setitem__(layer, whole[:, -1].float().clone()))

    with torch.no_grad():
        run(session, waiting.pick(range(len(waiting.last))), [tap(layer) for layer in layers])
    return torch.stack([kept[layer].cpu() for layer in layers])


def answers(session: Session, waiting: CachedPrompts, edits: Sequence[Edit] = (), new: int = NEW) -> list[str]:
    """What picked prompts are answered, greedily, up to the token that ends a turn; the edits see each last token."""
    hooked = session.hooked
    ends = _ends(session)
    batch = len(waiting.last)
    frame = Frame(TokenBatch(waiting.last[:, None], torch.ones(batch, dtype=torch.int64)))
    said = torch.zeros(batch, 0, dtype=torch.int64)
    done = torch.zeros(batch, dtype=torch.bool)
    mask, ids = waiting.mask, waiting.last
    with session.lock, torch.no_grad():
        taps = hooked.edit_taps(edits, frame)
        for step in range(new):
            inputs = Inputs(ids[:, None], mask, (waiting.lengths - 1 + step)[:, None], waiting.cache)
            logits = hooked.engine.run(inputs, taps, logits=torch.tensor([0]))
            assert logits is not None
            ids = logits[:, -1].float().argmax(-1).cpu()
            said = torch.cat([said, ids[:, None]], dim=1)
            done |= torch.isin(ids, ends)
            if done.all():
                break
            mask = torch.cat([mask, torch.ones(batch, 1, dtype=torch.bool)], dim=1)
            frame.generating = True
    return [_text(session, row, ends) for row in said]


def answer_all(
    session: Session, prompts: Sequence[Sequence[int]], progress: Reporter, stage: str, new: int = NEW
) -> list[str]:
    """What prompts are answered, a few at a time, those of like length together."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    found: dict[int, str] = {}
    for start in progress.steps(range(0, len(order), ROWS), stage):
        rows = order[start : start + ROWS]
        said = answers(session, prefill(session, [prompts[row] for row in rows]), new=new)
        found.update(zip(rows, said, strict=True))
    return [found[index] for index in range(len(prompts))]


def _ends(session: Session) -> Tensor:
    settings = getattr(session.model, "generation_config", None) or session.model.config
    ends = getattr(settings, "eos_token_id", None)
    return torch.tensor([] if ends is None else [ends] if isinstance(ends, int) else list(ends), dtype=torch.int64)


def _text(session: Session, ids: Tensor, ends: Tensor) -> str:
    kept = []
    for token in ids.tolist():
        if token in ends:
            break
        kept.append(token)
    return session.text(kept).strip() if kept else ""
