"""Heads of one call of attention that share a rule: their scores and weights, row by row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import attention
from .attention_rules import FAR, Rule, sees_nothing

if TYPE_CHECKING:
    from .attention import Call


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
        hidden = masked.masked_fill(~seen, torch.finfo(masked.dtype).min)
        sinks = attention.sink_rows(self.call, queries)
        if sinks is None:
            shares = hidden.softmax(-1) * seen
        else:  # a learned sink takes its share of each row, as without edits
            joined = torch.cat([hidden, sinks.to(hidden).expand(*hidden.shape[:3], 1)], dim=-1)
            shares = joined.softmax(-1)[..., :-1] * seen
        classes = self.rule.query_class.gather(1, queries)
        return found, shares * self._cells(self.rule.weight, classes).to(shares)

    def _gap(self, queries: Tensor) -> Tensor:
        """How many tokens each key is before each asked query, `[batch, query, key]`."""
        keys = torch.arange(self.call.k.shape[2], device=queries.device) + self.rule.key_start
        return (queries + self.rule.start)[..., None] - keys

    def _cells(self, table: Tensor, classes: Tensor) -> Tensor:
        """The table's entries for classes of queries `[batch, query]` and every key, `[batch, 1, query, key]`."""
        if table.shape == (1, 1):
            return table[None, None]
        return table[classes[:, :, None], self.rule.key_class[:, None, :]][:, None]


def of_heads(call: Call, heads: tuple[int, ...]) -> Call:
    """The call of some heads alone, with keys and values shared by as many of them each."""
    per = call.q.shape[1] // call.k.shape[1]
    if len(heads) == call.q.shape[1]:
        return call
    sharing = [head // per for head in heads]
    kinds = sorted(set(sharing))
    even = len({sharing.count(kind) for kind in kinds}) == 1
    keys = kinds if even else sharing
    return replace(
        call,
        q=call.q[:, list(heads)],
        k=_picked(call.k, keys),
        v=_picked(call.v, keys),
        sinks=None if call.sinks is None else _of_each(call.sinks, heads, 0 if call.sinks.ndim == 1 else 1),
        bias=None if call.bias is None else _of_each(call.bias, heads, 1),
    )


def _of_each(value: Tensor, heads: tuple[int, ...], axis: int) -> Tensor:
    """What is kept for each query head, of some heads; one for all stays."""
    return value if value.shape[axis] == 1 else value.index_select(axis, torch.tensor(heads, device=value.device))


def _picked(x: Tensor, heads: list[int]) -> Tensor:
    """Some heads `[batch, head, …]`, without a copy where they are next to one another."""
    if heads == list(range(heads[0], heads[0] + len(heads))):
        return x[:, heads[0] : heads[0] + len(heads)]
    return x[:, heads]
