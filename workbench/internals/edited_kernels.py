"""Edited attention by the kernels: a query's keys fall into branches, each plain attention of a part of them.

A branch has its own queries and keys, scale, and range or classes of keys. Branches of one query share no key, so their
outputs and statistics add up, each weighted by its share of the softmax, which the branches' normalisers tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..kernels import AttentionStats, BlockMask, attention_stats
from .attention_rules import FAR, sees_nothing
from .layer_statistics import LayerChunk, Request

if TYPE_CHECKING:
    from .attention import Call
    from .attention_rules import Rule
    from .edited_heads import Group

_AVERAGED = ("distance", "sink_mass", "recent_mass", "far_mass")


@dataclass(frozen=True, eq=False)
class Branch:
    """Attention to a part of the keys: those `lag` or more and fewer than `window` tokens back, where classes allow.

    Scores are multiplied by `factor` and raised by `addend`, weights multiplied by `weight` after the softmax.
    """

    q: Tensor
    k: Tensor
    lag: int
    window: int
    sees: Tensor
    factor: float
    addend: float
    weight: float


def branches(group: Group) -> list[Branch]:
    """The branches of a group of heads: disjoint, and together all that its queries see."""
    rule = group.rule
    found = []
    cells = torch.stack([rule.factor, rule.addend, rule.weight], dim=-1)
    for source in sorted(set(rule.source)):
        for window in sorted(set(rule.window)):
            rows = torch.tensor(
                [one == source and reach == window for one, reach in zip(rule.source, rule.window, strict=True)],
                device=cells.device,
            )
            open_cells = rule.sees & rows[:, None]
            for cell in cells[open_cells].unique(dim=0).tolist():
                sees = open_cells & (cells == torch.tensor(cell, device=cells.device, dtype=cells.dtype)).all(dim=-1)
                found += _at_distances(group, source, window, sees, cell)
    return [one for one in found if one.lag < one.window and bool(one.sees.any())]


def _at_distances(group: Group, source: int, window: int, sees: Tensor, cell: list[float]) -> list[Branch]:
    """Branches of one kind of cell: within the window and for sinks beyond it, near and far of `self_extend`."""
    rule = group.rule
    ranges = [(0, window, sees)]
    if window != FAR:
        ranges.append((window, FAR, sees & rule.sinks))
    found = []
    for low, high, table in ranges:
        if source or group.far is None:
            found.append(Branch(*group.sources[source], low, high, table, *cell))
            continue
        assert rule.placement is not None and rule.placement.neighbours is not None
        near = rule.placement.neighbours
        found.append(Branch(*group.sources[0], low, min(high, near), table, *cell))
        found.append(Branch(*group.far, max(low, near), high, table, *cell))
    return found


def serves(group: Group, small: int) -> bool:
    """Whether the kernels compute this group: a long text, without gradients, of a mask that they know."""
    call, rule = group.call, group.rule
    rows = int(rule.rows.any(dim=0).sum())
    if rows * call.k.shape[2] <= small or not knows(group):
        return False
    if torch.is_grad_enabled() and any(x.requires_grad for pair in group.sources for x in (*pair, call.v)):
        return False
    return call.q.device.type in ("cpu", "cuda")


def knows(group: Group) -> bool:
    """Whether the kernels know attention of this form: in their types, without a bias or sinks, of a mask they have."""
    call = group.call
    if call.q.dtype not in (torch.float32, torch.float16, torch.bfloat16) or call.sinks is not None:
        return False
    return is_plain(call, group.rule)


def is_plain(call: Call, rule: Rule) -> bool:
    """Whether the model's own mask is causal, with a window or none, and padding; looked at in three rows."""
    queries, keys = call.q.shape[2], call.k.shape[2]
    if call.bias is not None or not (call.causal or queries == 1):
        return False
    pads = rule.frame.pads.to(call.q.device)
    place = torch.arange(keys, device=call.q.device) + rule.key_start
    for row in {0, queries // 2, queries - 1}:
        mask = call.visible(row, row + 1)
        gap = rule.start + row - place
        expected = (gap >= 0) & (gap < (call.window or FAR)) & (place >= pads[:, None])
        real = rule.start + row >= pads
        if mask is None:
            same = bool(expected[real].all())
        else:
            shown = mask[:, 0, 0].expand(len(pads), -1)
            same = mask.dtype == torch.bool and bool((shown[real] == expected[real]).all())
        if not same:
            return False
    return True


def write(group: Group, out: Tensor) -> None:
    """Put the edited rows of a group in their place in the output `[batch, query, head, d]`."""
    rows = group.rule.rows
    some = rows.any(dim=0).nonzero()[:, 0]
    start, stop = int(some[0]), int(some[-1]) + 1
    new = _merged(group, start, stop, ("out",), {}).out
    assert new is not None
    heads = torch.tensor(group.heads, device=out.device)
    here = rows[:, start:stop, None, None]
    old = out[:, start:stop, heads]
    out[:, start:stop, heads] = torch.where(here, new.transpose(1, 2), old)


def statistics(groups: Sequence[Group], request: Request, out: Tensor, chunk: LayerChunk) -> tuple[Tensor, LayerChunk]:
    """The output `[batch, query, head, d]` and statistics of a call, from those without edits, which are written to.

    The kernels know each group.
    """
    count, keys = groups[0].call.q.shape[2], groups[0].call.k.shape[2]
    key_start = chunk.start + count - keys
    arguments = request.arguments(chunk.start, chunk.start + count, key_start, key_start + keys)
    wanted = tuple(name for name in request.wanted.stats if name != "segment_mass")
    found = chunk.stats.present()
    for group in groups:
        edited = _merged(group, 0, count, (*wanted, "out"), arguments).present()
        heads = torch.tensor(group.heads, device=out.device)
        out[:, :, heads] = edited.pop("out").transpose(1, 2)
        cleaned = request.cleaned(AttentionStats(**edited), chunk.start, key_start).present()
        for name, value in found.items():
            if name == "visible_keys":
                continue
            # where all weights were set to zero there is nothing to add up
            none = torch.full_like(value[:, heads], -1 if name in ("argmax", "topk_index") else 0)
            value[:, heads] = cleaned.get(name, none).to(value)
    return out, chunk._replace(stats=AttentionStats(**found))


def _merged(group: Group, start: int, stop: int, stats: tuple[str, ...], arguments: dict[str, Any]) -> AttentionStats:
    """Output and statistics of the queries `start..stop` of a group, over all of its branches."""
    received_or_top = {name: arguments[name] for name in ("received", "topk", "rows") if name in arguments}
    rest = {name: value for name, value in arguments.items() if name not in received_or_top}
    parts = branches(group)
    names = (*dict.fromkeys((*stats, "lse", *(("max_weight",) if "argmax" in stats else ()))),)
    found = [
        _of_branch(group, one, start, stop, names if one.weight else ("lse",), rest if one.weight else {}).present()
        for one in parts
    ]
    normalisers = torch.stack([each["lse"].double() + one.addend for each, one in zip(found, parts, strict=True)])
    whole = normalisers.logsumexp(dim=0)
    _check_seen(group, whole, start)
    base = whole.masked_fill(whole == -torch.inf, 0.0)
    shares = [one.weight * (each - base).exp() for one, each in zip(parts, normalisers, strict=True)]
    kept = [(one, each, share) for one, each, share in zip(parts, found, shares, strict=True) if one.weight]
    merged = _sums(group, kept, whole, stop - start)
    if received_or_top and kept:
        again = [
            _of_branch(group, one, start, stop, (), arguments | {"lse": (whole - one.addend).float()}).present()
            for one, _, _ in kept
        ]
        merged |= _later(kept, again, received_or_top)
    wanted = {*stats, "segment_mass", "weights_at", "received", "topk_weight", "topk_index"}
    return AttentionStats(**{name: value for name, value in merged.items() if name in wanted})


def _of_branch(
    group: Group, one: Branch, start: int, stop: int, stats: tuple[str, ...], arguments: dict[str, Any]
) -> AttentionStats:
    call, rule = group.call, group.rule
    last = rule.start + stop - rule.key_start
    cap = call.softcap if one.factor else None
    window = min(one.window, call.window or FAR)
    mask = BlockMask(rule.query_class[:, start:stop], rule.key_class[:, :last], one.sees)
    real = None
    if rule.frame.left and rule.frame.tokens.padded:
        real = torch.arange(last, device=call.q.device) + rule.key_start >= rule.frame.pads.to(call.q.device)[:, None]
    given = {"query_start": rule.start + start, "key_start": rule.key_start, **arguments}
    if "segments" in given:
        given["segments"] = given["segments"][..., :last]
    return attention_stats(
        one.q[:, :, start:stop],
        one.k[:, :, :last],
        call.v[:, :, :last] if "out" in stats else None,
        stats=stats,
        scale=call.scaling * one.factor,
        softcap=None if cap is None else cap * abs(one.factor),
        window=None if window == FAR else window,
        lag=one.lag,
        block_mask=None if bool(one.sees.all()) else mask,
        key_mask=real,
        **given,
    )


def _check_seen(group: Group, normaliser: Tensor, start: int) -> None:
    """Raise `UsageError` where an edited query sees no key."""
    blind = (normaliser == -torch.inf).any(dim=1) & group.rule.rows[:, start : start + normaliser.shape[2]]
    if blind.any():
        row, query = (int(n) for n in blind.nonzero()[0])
        raise sees_nothing(group.rule, row, query + start)


def _sums(
    group: Group, kept: list[tuple[Branch, dict[str, Tensor], Tensor]], whole: Tensor, count: int
) -> dict[str, Tensor]:
    """Statistics over all branches from each one's own and its share of the softmax `[batch, head, query]`."""
    v = group.v
    if not kept:
        shape = (v.shape[0], len(group.heads), count)
        return {"out": v.new_zeros(*shape, v.shape[3]), "lse": whole.float()}
    names = kept[0][1].keys()
    found: dict[str, Tensor] = {"lse": whole}
    for name in names:
        values = [each[name].double() for _, each, _ in kept]
        shares = [share for _, _, share in kept]
        if name == "lse":
            continue
        if name in ("out", "segment_mass"):
            found[name] = _total(s[..., None] * x for s, x in zip(shares, values, strict=True))
        elif name == "weights_at":
            found[name] = _total(s[:, :, None] * x for s, x in zip(shares, values, strict=True))
        elif name == "entropy":
            found[name] = _total(s * x - torch.xlogy(s, s) for s, x in zip(shares, values, strict=True))
        elif name in _AVERAGED:
            found[name] = _total(s * x for s, x in zip(shares, values, strict=True))
    if "max_weight" in names:
        tops = torch.stack([share * each["max_weight"].double() for _, each, share in kept])
        found["max_weight"] = tops.amax(dim=0)
        if "argmax" in names:
            index = torch.stack([each["argmax"] for _, each, _ in kept])
            # of equals the earlier key
            first = torch.where((tops == found["max_weight"]) & (index >= 0), index, torch.iinfo(torch.int64).max)
            best = first.amin(dim=0)
            found["argmax"] = torch.where(found["max_weight"] > 0, best, -1)
    like = {name: value.dtype for name, value in kept[0][1].items()}
    return {name: value.to(like.get(name, torch.float32)) for name, value in found.items()}


def _later(
    kept: list[tuple[Branch, dict[str, Tensor], Tensor]], again: list[dict[str, Tensor]], asked: Mapping[Any, Any]
) -> dict[str, Tensor]:
    """Attention received and top keys, which need the normaliser of all branches."""
    found: dict[str, Tensor] = {}
    weights = [one.weight for one, _, _ in kept]
    if "received" in asked:
        found["received"] = _total(w * each["received"] for w, each in zip(weights, again, strict=True))
    if "topk" in asked:
        weight = torch.cat([w * each["topk_weight"] for w, each in zip(weights, again, strict=True)], dim=-1)
        index = torch.cat([each["topk_index"] for each in again], dim=-1)
        order = index.masked_fill(index < 0, torch.iinfo(torch.int64).max).argsort(dim=-1, stable=True)
        weight, index = weight.gather(-1, order), index.gather(-1, order)
        best, order = weight.sort(dim=-1, descending=True, stable=True)
        count = asked["topk"]
        found["topk_weight"], found["topk_index"] = best[..., :count], index.gather(-1, order)[..., :count]
    return found


def _total(parts: Any) -> Tensor:
    return torch.stack(list(parts)).sum(dim=0)
