"""Attention outputs of one run put into another: which runs are paired, and what is read in the patched one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.internals import edits
from workbench.internals.edits import Frame
from workbench.internals.engines.base import Hook
from workbench.internals.hooks import edit_hooks
from workbench.internals.patchscope import PatchScope
from workbench.internals.prefix_cache import CachedPrompts, prefill, run
from workbench.internals.sites import Site
from workbench.internals.tokens import TokenBatch
from workbench.texts.facts import Item

from ..task.prompting import Intent, Prompter

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.progress import Reporter

SETUPS: dict[str, tuple[bool, bool, bool]] = {
    "prior": (False, False, True),
    "context": (True, True, True),
    "to_context": (True, False, False),
    "to_prior": (False, True, False),
}
"""Whether source and target are asked for the context's answer, and whether the source is another item."""


@dataclass(frozen=True)
class PatchPair:
    """Source and target: an item and whether its context's answer is asked for."""

    source: tuple[Item, bool]
    target: tuple[Item, bool]


def paired(prompter: Prompter, items: Sequence[Item], setting: str) -> list[PatchPair]:
    """The runs of a setting, one for each target that can be had.

    A source that is another item is the next one, around the end, with another query and another first answer token.
    Items whose two answers begin with one token are left out.
    """
    from_context, to_context, other = SETUPS[setting]

    def first(item: Item, way: bool) -> int:
        return prompter.answer(item.answer(way))[0]

    usable = [item for item in items if first(item, False) != first(item, True)]
    if not other:
        return [PatchPair((item, from_context), (item, to_context)) for item in usable]
    found = []
    for place, target in enumerate(usable):
        after = (usable[(place + step) % len(usable)] for step in range(1, len(usable)))
        for source in after:
            if source.query != target.query and first(source, from_context) != first(target, to_context):
                found.append(PatchPair((source, from_context), (target, to_context)))
                break
    return found


class CleanRuns:
    """Items under both intents, run up to their last token once.

    sources: the attention's output at the last token, `[layer, row, d_model]`; rows are those of `row`. right: whether
    the likeliest next token begins the asked answer, `[item, intent]`.
    """

    def __init__(self, session: Session, items: Sequence[Item], intent: Intent, begun: bool) -> None:
        self.session, self.items = session, list(items)
        self.prompter = Prompter(session, begun)
        rows = [(item, way) for item in items for way in (False, True)]
        self.firsts = torch.tensor([self.prompter.answer(item.answer(way))[0] for item, way in rows])
        self.waiting = prefill(session, [self.prompter.ask(item, way, intent) for item, way in rows])
        sites = [Site("attn_out", layer) for layer in range(session.shape.layers)]
        sources, logits = _seen(session, self.waiting, sites)
        self.sources = torch.stack(sources)
        self.right = (logits.argmax(-1) == self.firsts).reshape(-1, 2)

    def row(self, item: Item, from_context: bool) -> int:
        return 2 * self.items.index(item) + from_context


class Patching:
    """Runs in which attention outputs of the source are put into the target.

    answers: first token of the source's and of the target's answer, `[run, answer]`.
    """

    def __init__(
        self, asked: CleanRuns, runs: Sequence[PatchPair], scope: PatchScope, progress: Reporter | None = None
    ) -> None:
        self.runs = runs
        self.layers = asked.session.shape.layers
        self._session, self._scope, self._progress = asked.session, scope, progress
        sources = [asked.row(*each.source) for each in runs]
        targets = [asked.row(*each.target) for each in runs]
        self.answers = torch.stack([asked.firsts[sources], asked.firsts[targets]], dim=1)
        self._sources = asked.sources[:, sources]
        self._targets = asked.waiting.pick(targets)
        self._plain: Tensor | None = None

    def read(self, blocks: Collection[int]) -> Tensor:
        """Probability of both answers after every block, with the attention's output of some patched.

        `[layer, run, answer]`, read by the PatchScope. Before the first patched block nothing changes, so the readings
        of the run without a patch are taken.
        """
        if self._plain is None:
            self._plain = self._readings((), 0)
        if not blocks:
            return self._plain
        begin = min(blocks)
        return torch.cat([self._plain[:begin], self._readings(blocks, begin)])

    def next(self, blocks: Collection[int]) -> Tensor:
        """Probability of both answers as the next token, `[run, answer]`: the last block's reading, in one pass."""
        _, logits = _seen(self._session, self._targets, [], self._edits(blocks))
        return logits.double().softmax(-1).gather(-1, self.answers)

    def _readings(self, blocks: Collection[int], begin: int) -> Tensor:
        layers = range(begin, self.layers)
        sites = [Site("resid_post", layer) for layer in layers]
        states, _ = _seen(self._session, self._targets, sites, self._edits(blocks))
        return self._scope.read(torch.stack(states), layers, self.answers, self._progress)

    def _edits(self, blocks: Collection[int]) -> list[edits.Edit]:
        return [
            edits.patch(f"attn_out.{layer}", self._sources[layer][:, None], positions=[-1]) for layer in sorted(blocks)
        ]


def _seen(
    session: Session, waiting: CachedPrompts, sites: Sequence[Site], changed: Sequence[edits.Edit] = ()
) -> tuple[list[Tensor], Tensor]:
    """Sites at the last token `[batch, d_model]` each, and the logits after it, under edits."""
    rows = len(waiting.last)
    frame = Frame(TokenBatch(waiting.last[:, None], torch.ones(rows, dtype=torch.int64)))
    kept: dict[Site, Tensor] = {}

    def hook(site: Site) -> Hook:
        return Hook(site, lambda whole: kept.__setitem__(site, whole[:, -1].float().cpu().clone()))

    with torch.no_grad():
        hooks = [*edit_hooks(session.hooked.engine, changed, frame), *map(hook, sites)]
        logits = run(session, waiting.pick(range(rows)), hooks)
    return [kept[site] for site in sites], logits.cpu()
