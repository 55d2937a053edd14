"""Attention as edits make it: the output, scores and weights of a call, whichever engine it comes from.

Queries that nothing changes keep what the model computes. The others are computed row by row in chunks, or in long
texts by the kernels, range by range; nothing has the size of query × key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UsageError
from . import attention, edited_kernels
from .attention_rules import FAR, Rule

if TYPE_CHECKING:
    from .attention import Call
    from .attention_plan import AttentionPlan
    from .layer_statistics import LayerChunk, Request

SMALL = 1 << 20
"""Up to this many entries of query × key, rows are computed in chunks, and by the kernels above."""
_CHUNK = 1 << 20
"""Entries of query × key that one chunk holds for each head."""


@dataclass(frozen=True, eq=False)
class Group:
    """Heads of one call that share a rule, with their queries and keys as edited.

    sources: pairs of queries `[batch, head, query, d]` and keys `[batch, kv_head, key, d]`, by the rule's numbers; far:
    those for keys `rule.placement.neighbours` away or more.
    """

    heads: tuple[int, ...]
    rule: Rule
    call: Call
    sources: tuple[tuple[Tensor, Tensor], ...]
    far: tuple[Tensor, Tensor] | None

    @property
    def v(self) -> Tensor:
        """The values, `[batch, kv_head, key, d]`, as many heads as the keys have."""
        return self.call.v

    def of(self, source: tuple[Tensor, Tensor]) -> Call:
        """The call of these heads on one pair of queries and keys."""
        return replace(self.call, q=source[0], k=source[1])

    def scores(self, queries: Tensor) -> Tensor:
        """Scores of the asked queries `[batch, query]` before the softmax, -inf where an edit hides a key."""
        rule = self.rule
        classes = rule.query_class.gather(1, queries)
        gap = self._gap(queries)
        found = attention.scores(self.of(self.sources[0]), queries)
        if self.far is not None:
            assert rule.placement is not None and rule.placement.neighbours is not None
            beyond = attention.scores(self.of(self.far), queries)
            found = torch.where((gap >= rule.placement.neighbours)[:, None], beyond, found)
        for number, source in enumerate(self.sources[1:], start=1):
            here = (rule.of_class(rule.source)[classes] == number)[:, None, :, None]
            if here.any():
                found = torch.where(here, attention.scores(self.of(source), queries), found)
        found = found * self._cells(rule.factor, classes).to(found) + self._cells(rule.addend, classes).to(found)
        seen = self._cells(rule.sees, classes)
        if any(window != FAR for window in rule.window):
            near = gap < rule.of_class(rule.window)[classes][..., None]
            seen = seen & (near[:, None] | self._cells(rule.sinks, classes))
        return found.masked_fill(~seen, -torch.inf)

    def weights(self, queries: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scores and weights of the asked queries, of which the model's mask lets `visible` through.

        Raises `UsageError` where an edited query sees nothing.
        """
        found = self.scores(queries)
        masked = found
        if visible is not None and visible.dtype == torch.bool:
            masked = masked.masked_fill(~visible, -torch.inf)
        elif visible is not None:
            masked = masked + visible
        seen = masked > torch.finfo(masked.dtype).min
        edited = self.rule.rows.gather(1, queries)
        blind = edited & ~seen.any(dim=-1).any(dim=1)
        if blind.any():
            row, which = (int(n) for n in blind.nonzero()[0])
            raise sees_nothing(self.rule, row, int(queries[row, which]))
        at_least = torch.promote_types(masked.dtype, torch.float32)
        lowest = torch.finfo(masked.dtype).min
        shares = masked.masked_fill(~seen, lowest).softmax(-1, dtype=at_least) * seen
        classes = self.rule.query_class.gather(1, queries)
        return found, (shares * self._cells(self.rule.weight, classes).to(shares)).to(found.dtype)

    def _gap(self, queries: Tensor) -> Tensor:
        """How many tokens each key is before each asked query, `[batch, query, key]`."""
        keys = torch.arange(self.call.k.shape[2], device=queries.device) + self.rule.key_start
        return (queries + self.rule.start)[..., None] - keys

    def _cells(self, table: Tensor, classes: Tensor) -> Tensor:
        """The table's entries for classes of queries `[batch, query]` and every key, `[batch, 1, query, key]`."""
        if table.shape == (1, 1):
            return table[None, None]
        return table[classes[:, :, None], self.rule.key_class[:, None, :]][:, None]


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
            new = mixed(weights, group.v)
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
        """The output and the statistics of this layer for the queries from `start` on."""
        return edited_kernels.statistics(self, request, start)


def of_heads(call: Call, heads: tuple[int, ...]) -> Call:
    """The call of some heads alone, with keys and values shared by as many of them each."""
    per = call.q.shape[1] // call.k.shape[1]
    if len(heads) == call.q.shape[1]:
        return call
    sharing = [head // per for head in heads]
    kinds = sorted(set(sharing))
    even = len({sharing.count(kind) for kind in kinds}) == 1
    keys = kinds if even else sharing
    return replace(call, q=call.q[:, list(heads)], k=_picked(call.k, keys), v=_picked(call.v, keys))


def _picked(x: Tensor, heads: list[int]) -> Tensor:
    """Some heads `[batch, head, …]`, without a copy where they are next to one another."""
    if heads == list(range(heads[0], heads[0] + len(heads))):
        return x[:, heads[0] : heads[0] + len(heads)]
    return x[:, heads]


def mixed(weights: Tensor, v: Tensor) -> Tensor:
    """Weights `[batch, head, query, key]` times values `[batch, kv_head, key, d]`: `[batch, query, head, d]`."""
    per = weights.shape[1] // v.shape[1]
    summed = weights.unflatten(1, (-1, per)).flatten(2, 3) @ v
    return summed.unflatten(2, (per, -1)).flatten(1, 2).transpose(1, 2)


def sees_nothing(rule: Rule, row: int, query: int) -> UsageError:
    """The error for a query, counted in its pass, that the edits leave nothing to see."""
    place = query + rule.start - int(rule.frame.pads[row])
    return UsageError(
        f"these edits leave the token at position {place} of row {row} nothing to see: leave it at least one key, or "
        "set its weights to zero with knock_out(…, renormalise=False)"
    )
