"""Attention as edits make it: the output, scores and weights of a call, whichever engine it comes from.

Queries that nothing changes keep what the model computes. The others are computed row by row in chunks, or in long
texts by the kernels, range by range; nothing has the size of query × key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from ..errors import UsageError
from ..kernels import AttentionStats
from . import attention, call_statistics, edited_kernels, pattern_statistics
from .attention import Call
from .attention_plan import AttentionPlan
from .attention_rules import Rule
from .edited_heads import Group, of_heads
from .engines.base import Hook
from .layer_statistics import LayerChunk, Request
from .sites import Site

SMALL = 1 << 20
"""Up to this many entries of query × key, rows are computed in chunks, and by the kernels above."""
_CHUNK = 1 << 20
"""Entries of query × key that one chunk holds for each head."""


@dataclass(eq=False)
class EditedCall:
    """The edits of one call of attention, as `attention.attend`, `scores` and `pattern` ask for them."""

    plan: AttentionPlan
    layer: int
    call: Call

    @cached_property
    def groups(self) -> list[Group]:
        """The heads with a rule that changes something."""
        call = self.call
        rules = self.plan.rules(self.layer, call.q.shape[2], call.k.shape[2], call.q.device)
        return [self._group(heads, rule) for heads, rule in rules if rule.changes]

    def _group(self, heads: tuple[int, ...], rule: Rule) -> Group:
        call = of_heads(self.call, heads)
        own, far = self.plan.placed(self.layer, rule, call)
        fixed = [self.plan.fixed(self.layer, edit, rule, call, heads) for edit in rule.fixed]
        return Group(heads, rule, call, (own, *fixed), far)

    def attend(self) -> Tensor:
        """The output `[batch, query, head, d_head]`."""
        call, groups = self.call, self.groups
        if not groups:
            return attention.attend(call)
        whole = [group for group in groups if bool(group.rule.rows.all())]
        out = self._plain({head for group in whole for head in group.heads})
        if out.requires_grad:
            out = out.clone()
        for group in groups:
            if edited_kernels.serves(group, SMALL):
                edited_kernels.write(group, out)
            else:
                self._write_rows(group, out)
        return out

    def _plain(self, replaced: set[int]) -> Tensor:
        """What the model computes, of the heads that share keys with one that is not replaced; others are empty."""
        call = self.call
        per = call.q.shape[1] // call.k.shape[1]
        kept = [kv for kv in range(call.k.shape[1]) if any(kv * per + i not in replaced for i in range(per))]
        if len(kept) == call.k.shape[1]:
            return attention.attend(call)
        out = call.q.new_empty(call.q.shape[0], call.q.shape[2], call.q.shape[1], call.v.shape[3])
        if kept:
            heads = tuple(kv * per + i for kv in kept for i in range(per))
            out[:, :, list(heads)] = attention.attend(of_heads(call, heads))
        return out

    def _write_rows(self, group: Group, out: Tensor) -> None:
        """Put the edited rows of a group in their place, computed in chunks."""
        heads = torch.tensor(group.heads, device=out.device)
        edited = group.rule.rows
        some = edited.any(dim=0).nonzero()[:, 0].tolist()
        step = max(16, _CHUNK // self.call.k.shape[2])
        position = 0
        while position < len(some):
            start = some[position]
            stop = min(some[-1] + 1, start + step)
            queries = torch.arange(start, stop, device=out.device).expand(len(out), -1)
            _, weights = group.weights(queries, self.call.visible(start, stop))
            new = attention.mixed(weights.to(group.v.dtype), group.v)
            old = out[:, start:stop, heads]
            out[:, start:stop, heads] = torch.where(edited[:, start:stop, None, None], new, old)
            while position < len(some) and some[position] < stop:
                position += 1

    def scores(self, queries: Tensor | None) -> Tensor:
        """Scores of the asked queries, as edited: -inf where an edit hides a key."""
        return self._maps(queries, lambda group, asked: group.scores(asked), attention.scores(self.call, queries))

    def pattern(self, queries: Tensor) -> Tensor:
        """Weights of the asked queries, as edited."""
        visible = attention.visible_to(self.call, queries.to(self.call.q.device))
        plain = attention.pattern(self.call, queries)
        return self._maps(queries, lambda group, asked: group.weights(asked, visible)[1], plain)

    def _maps(self, queries: Tensor | None, of_group, out: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        call = self.call
        if queries is None:
            queries = torch.arange(call.q.shape[2]).expand(call.q.shape[0], -1)
        asked = queries.to(call.q.device)
        out = out.clone()
        for group in self.groups:
            heads = list(group.heads)
            edited = group.rule.rows.gather(1, asked)[:, None, :, None]
            out[:, heads] = torch.where(edited, of_group(group, asked), out[:, heads])
        return out

    def statistics(self, request: Request, start: int) -> tuple[Tensor, LayerChunk]:
        """The output and the statistics of this layer for the queries from `start` on.

        `visible_keys` tells what the model's own mask shows.
        """
        plain, chunk = call_statistics.attend(self.call, request, self.layer, start)
        if not self.groups:
            return plain, chunk
        short = max(self.call.q.shape[2], self.call.k.shape[2]) <= attention.SHORT
        if not short and all(edited_kernels.knows(group) for group in self.groups):
            return edited_kernels.statistics(self.groups, request, plain, chunk)
        key_start = start + self.call.q.shape[2] - self.call.k.shape[2]
        out, found = pattern_statistics.in_blocks(replace(self.call, edited=self), request, start, key_start)
        visible = {"visible_keys": chunk.stats.visible_keys}
        stats = request.cleaned(AttentionStats(**found | visible), start, key_start)
        return out, chunk._replace(stats=stats)

    def log_normaliser(self, queries: Tensor) -> Tensor:
        """The logarithm of what weights are divided by in the softmax, `[batch, head, query]`; see `pattern`."""
        call, asked = self.call, queries.to(self.call.q.device)
        visible = attention.visible_to(call, asked)

        def of(found: Tensor, sinks: Tensor | None) -> Tensor:
            if visible is not None:
                found = found.masked_fill(~visible, -torch.inf) if visible.dtype == torch.bool else found + visible
            if sinks is not None:
                found = torch.cat([found, sinks.to(found).expand(*found.shape[:3], 1)], dim=-1)
            return found.logsumexp(-1, keepdim=True)

        plain = of(attention.scores(call, asked), attention.sink_rows(call, asked))
        return self._maps(
            asked, lambda group, asked: of(group.scores(asked), attention.sink_rows(group.call, asked)), plain
        )[..., 0]


def attention_hooks(plan: AttentionPlan) -> list[Hook]:
    """One hook for each layer with an edit, at its attention."""

    def change(call: Call, layer: int) -> None:
        if call.edited is not None:
            raise UsageError(f"two sets of attention edits meet in layer {layer}: give all of them in one list")
        call.edited = EditedCall(plan, layer, replace(call))

    layers = plan.engine.architecture.layers

    def hook(layer: int) -> Hook:
        kind = "scores" if "scores" in layers[layer].places else "pattern"  # with a learned sink there is only that
        return Hook(Site(kind, layer), lambda _: None, change=partial(change, layer=layer))

    return [hook(layer) for layer in plan.layers]
