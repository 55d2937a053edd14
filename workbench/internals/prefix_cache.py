"""Prompts are run up to their last token once; what is changed at that token, and what follows, is run many times.

What all prompts begin with is run once too, where padding after it changes nothing. Models whose runs from a cache are
not what they compute over a whole text are found by a check (`cache_checks`) and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from .cache_checks import check_edits, checked
from .cached_prompts import CachedPrompts, fill
from .edits import EditLike, Frame, refuse_learning
from .engines.base import Hook, Inputs
from .hooks import edit_hooks
from .sites import Site
from .tokens import TokenBatch

if TYPE_CHECKING:
    from ..progress import Reporter
    from .session import Session

NEW = 8
"""Tokens that an answer may take."""
ROWS = 24
"""Prompts that are run at once."""


def prefill(session: Session, prompts: Sequence[Sequence[int]]) -> CachedPrompts:
    """Run prompts of at least two tokens up to their last one; what all of them begin with is run once.

    Raises `UsageError` for a model whose runs from a cache are not what it computes over a whole text.
    """
    with session.lock:
        engine = session.hooked.engine
        found = checked(engine)
        if found.why is not None:
            raise UsageError(f"prompts cannot be run in two parts on {engine.architecture.name}: {found.why}")
        even = len({len(prompt) for prompt in prompts}) == 1
        return fill(engine, prompts, share=len(prompts) > 1 and (found.padding_between or even))


def run(session: Session, waiting: CachedPrompts, hooks: Sequence[Hook] = ()) -> Tensor:
    """Run the last token of picked prompts under hooks; the logits after it `[batch, vocabulary]`, in float32."""
    with session.lock:
        logits = session.hooked.engine.run(waiting.inputs(), hooks, logits=torch.tensor([0]))
    assert logits is not None
    return logits[:, -1].float()


def residuals(session: Session, waiting: CachedPrompts, layers: Sequence[int]) -> Tensor:
    """The residual stream after blocks, at the last token: `[layer, batch, d_model]`."""
    kept: dict[int, Tensor] = {}

    def hook(layer: int) -> Hook:
        return Hook(Site("resid_post", layer), lambda whole: kept.__setitem__(layer, whole[:, -1].float().clone()))

    with torch.no_grad():
        run(session, waiting.pick(range(len(waiting.last))), [hook(layer) for layer in layers])
    return torch.stack([kept[layer].cpu() for layer in layers])


def answers(
    session: Session,
    waiting: CachedPrompts,
    edits: EditLike = (),
    new: int = NEW,
    enough: Callable[[int, str], bool] | None = None,
) -> list[str]:
    """What picked prompts are answered, greedily, up to the token that ends a turn; the edits see each last token.

    Nothing more is generated once `enough`, given a row and its answer so far, is true of every row that goes on.
    """
    refuse_learning(edits, "an answer")
    hooked = session.hooked
    ends = torch.tensor(session.ends, dtype=torch.int64)
    batch = len(waiting.last)
    frame = Frame(TokenBatch(waiting.last[:, None], torch.ones(batch, dtype=torch.int64)))
    said = torch.zeros(batch, 0, dtype=torch.int64)
    done = torch.zeros(batch, dtype=torch.bool)
    mask, ids = waiting.mask, waiting.last
    with session.lock, torch.no_grad():
        check_edits(hooked.engine, edits)
        hooks = edit_hooks(hooked.engine, edits, frame)
        for step in range(new):
            inputs = Inputs(ids[:, None], mask, (waiting.lengths - 1 + step)[:, None], waiting.cache)
            logits = hooked.engine.run(inputs, hooks, logits=torch.tensor([0]))
            assert logits is not None
            ids = logits[:, -1].float().argmax(-1).cpu()
            said = torch.cat([said, ids[:, None]], dim=1)
            done |= torch.isin(ids, ends)
            if enough is not None:
                for row in np.flatnonzero(~done.numpy()).tolist():
                    done[row] = enough(row, _text(session, said[row], ends))
            if done.all():
                break
            mask = torch.cat([mask, torch.ones(batch, 1, dtype=torch.bool)], dim=1)
            frame.generating, frame.step = True, step
    return [_text(session, row, ends) for row in said]


def answer_all(
    session: Session,
    prompts: Sequence[Sequence[int]],
    progress: Reporter,
    stage: str,
    new: int = NEW,
    enough: Callable[[int, str], bool] | None = None,
) -> list[str]:
    """What prompts are answered, a few at a time, those of like length together; `enough` is told each one's index."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    found: dict[int, str] = {}
    for start in progress.steps(range(0, len(order), ROWS), stage):
        rows = order[start : start + ROWS]
        seen = None if enough is None else partial(_of_row, enough, rows)
        said = answers(session, prefill(session, [prompts[row] for row in rows]), new=new, enough=seen)
        found.update(zip(rows, said, strict=True))
    return [found[index] for index in range(len(prompts))]


def _of_row(enough: Callable[[int, str], bool], rows: Sequence[int], row: int, text: str) -> bool:
    return enough(rows[row], text)


def _text(session: Session, ids: Tensor, ends: Tensor) -> str:
    kept = []
    for token in ids.tolist():
        if token in ends:
            break
        kept.append(token)
    return session.text(kept).strip() if kept else ""
