"""Attention statistics from the pattern: whole for short texts, or block of rows by block where kernels have none.

The blocks serve attention of any form (chunks, chosen keys, a bias on scores, values of another size): they hold a few
rows of query × key at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import UsageError
from ..kernels import AttentionStats
from ..kernels.result import ROW_STATS
from . import attention

if TYPE_CHECKING:
    from torch import Tensor

    from .architectures import Layer
    from .layer_statistics import Request

_ENTRIES = 1 << 22
"""Entries of query × key that one block of rows holds for each head."""


def statistics(pattern: Tensor, request: Request, layer: Layer) -> AttentionStats:
    """Statistics of a layer's causal pattern `[batch, head, query, key]` of all queries.

    Raises `UsageError` for "lse", which a pattern does not tell.
    """
    wanted = request.wanted
    if "lse" in wanted.stats and tuple(wanted.stats) != ROW_STATS:
        raise UsageError("lse cannot be told from an attention pattern; take an engine with native attention")
    found = of_rows(pattern, request, 0, 0)
    wished = {*wanted.stats} - {"lse"} - ({"segment_mass"} if wanted.segments is None else set())
    if absent := wished - found.keys():  # not to have it must not read like not having been asked for it
        raise UsageError(f"{', '.join(sorted(absent))} cannot be told from an attention pattern")
    found["visible_keys"] = _visible_keys(pattern, layer)
    return request.cleaned(AttentionStats(**found), 0)


def _visible_keys(pattern: Tensor, layer: Layer) -> Tensor:
    """How many keys each query sees, int64 `[batch or 1, 1, query]`.

    A key whose weight is too small for its dtype is seen, too: where the layer's kind tells what a query sees, and the
    pattern has no row against it, that is what counts.
    """
    counted = (pattern > 0).sum(-1).amax(1, keepdim=True)
    before = torch.arange(pattern.shape[2], device=pattern.device)
    seen = before + 1
    if layer.kind in ("window", "chunk"):
        reach = layer.reach or 0
        if int(counted.max()) != min(reach, len(seen)):
            return counted
        seen = seen.clamp(max=reach) if layer.kind == "window" else before % reach + 1
    elif layer.kind != "full":
        return counted
    return seen[None, None]


def of_rows(weights: Tensor, request: Request, start: int, key_start: int) -> dict[str, Tensor]:
    """Statistics of the queries from `start` on, on the keys from `key_start` on, from their weights."""
    wanted = request.wanted
    weights = weights if weights.dtype == torch.float64 else weights.float()
    queries = torch.arange(start, start + weights.shape[2], device=weights.device)
    places = torch.arange(key_start, key_start + weights.shape[3], device=weights.device)
    gap = queries[:, None] - places
    sink = places < wanted.sink
    recent = (gap < wanted.recent) & ~sink
    top = weights.max(dim=-1)
    found = {
        "entropy": torch.special.entr(weights).sum(-1),
        "max_weight": top.values,
        "argmax": torch.where(top.values > 0, top.indices + key_start, -1),
        "distance": (weights * gap.clamp_min(0)).sum(-1),
        "sink_mass": weights[..., sink].sum(-1),
        "recent_mass": (weights * recent).sum(-1),
        "far_mass": (weights * ~(recent | sink)).sum(-1),
    }
    # not to have one must not read like not having been asked for it
    if absent := {*wanted.stats} - {"lse", "segment_mass"} - found.keys():
        raise UsageError(f"{', '.join(sorted(absent))} cannot be told from an attention pattern")
    found = {name: value for name, value in found.items() if name in wanted.stats}
    arguments = request.arguments(start, start + weights.shape[2], key_start, key_start + weights.shape[3])
    if "segments" in arguments:
        segments = arguments["segments"].to(weights.device).long().expand(len(weights), -1)
        inside = segments[..., None] == torch.arange(arguments["n_segments"], device=weights.device)
        found["segment_mass"] = weights @ inside.to(weights)[:, None]
    if "received" in arguments:
        received = arguments["received"].to(weights)
        found["received"] = (received if received.ndim == 3 else received[None])[:, None] @ weights
    if "weights_at" in arguments:
        at = arguments["weights_at"].to(weights.device)
        keys = (at if at.ndim == 2 else at[:, None]).expand(*weights.shape[:2], -1, -1) - key_start
        taken = weights.gather(3, keys.clamp(0, weights.shape[3] - 1).transpose(2, 3)).transpose(2, 3)
        found["weights_at"] = taken.where((keys >= 0) & (keys < weights.shape[3]), 0)
    if "topk" in arguments:
        count = min(arguments["topk"], weights.shape[3])
        chosen = weights[:, :, arguments["rows"].to(weights.device) - start].topk(count, dim=-1)
        missing = (0, arguments["topk"] - count)
        found["topk_weight"] = torch.nn.functional.pad(chosen.values, missing)
        index = (chosen.indices + key_start).masked_fill(chosen.values <= 0, -1)
        found["topk_index"] = torch.nn.functional.pad(index, missing, value=-1)
    return found


def in_blocks(call: attention.Call, request: Request, start: int, key_start: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Output `[batch, query, head, d_value]` and statistics of a call from position `start` on, block by block."""
    length, keys = call.q.shape[2], call.k.shape[2]
    step = max(16, min(length, _ENTRIES // keys))
    outputs, parts = [], []
    received: Tensor | None = None
    for first in range(0, length, step):
        stop = min(first + step, length)
        every = torch.arange(first, stop, device=call.q.device).expand(len(call.q), -1)
        edited = call.edited
        if edited is None:
            rows, lowest = attention.part(call, first, stop)
            weights = attention.pattern(rows, every - first)
        else:
            rows, lowest, weights = call, 0, edited.pattern(every)
        outputs.append(attention.mixed(weights.to(rows.v.dtype), rows.v))
        found = of_rows(weights, request, start + first, key_start + lowest)
        if "lse" in request.wanted.stats:
            found["lse"] = attention.log_normaliser(rows) if edited is None else edited.log_normaliser(every)
        if rows.sinks is not None:
            found["learned_sink_mass"] = 1 - weights.float().sum(-1)
            if edited is not None:  # weights may have been changed after the softmax, in which the sink took its share
                sinks, whole = attention.sink_rows(call, every), edited.log_normaliser(every)
                assert sinks is not None
                found["learned_sink_mass"] = torch.exp(sinks[..., 0].to(whole) - whole)
        if (part := found.pop("received", None)) is not None:
            part = torch.nn.functional.pad(part, (lowest, keys - lowest - part.shape[-1]))
            received = part if received is None else received + part
        parts.append(found)
    names = dict.fromkeys(name for found in parts for name in found)
    merged = {
        name: torch.cat([found[name] for found in parts if name in found], dim=3 if name == "weights_at" else 2)
        for name in names
    }
    if received is not None:
        merged["received"] = received
    return torch.cat(outputs, dim=1), merged
