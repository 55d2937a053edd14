"""Attention statistics from a whole query × key pattern: for short texts on engines that build it anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import UsageError
from ..kernels import AttentionStats
from ..kernels.result import ROW_STATS

if TYPE_CHECKING:
    from torch import Tensor

    from .layer_statistics import Request


def statistics(pattern: Tensor, request: Request) -> AttentionStats:
    """Statistics of a causal pattern `[batch, head, query, key]` of all queries.

    Raises `UsageError` for "lse", which a pattern does not tell.
    """
    wanted = request.wanted
    if "lse" in wanted.stats and tuple(wanted.stats) != ROW_STATS:
        raise UsageError("lse cannot be told from an attention pattern; take an engine with native attention")
    weights = pattern.float()
    places = torch.arange(weights.shape[3], device=weights.device)
    gap = places[:, None] - places
    sink = places < wanted.sink
    recent = (gap < wanted.recent) & ~sink
    top = weights.max(dim=-1)
    found = {
        "entropy": torch.special.entr(weights).sum(-1),
        "max_weight": top.values,
        "argmax": top.indices,
        "distance": (weights * gap.clamp_min(0)).sum(-1),
        "sink_mass": weights[..., sink].sum(-1),
        "recent_mass": (weights * recent).sum(-1),
        "far_mass": (weights * ~(recent | sink)).sum(-1),
    }
    found = {name: value for name, value in found.items() if name in wanted.stats}
    arguments = request.arguments(0, weights.shape[2], 0, weights.shape[3])
    if "segments" in arguments:
        segments = arguments["segments"].to(weights.device).long().expand(len(weights), -1)
        inside = segments[..., None] == torch.arange(arguments["n_segments"], device=weights.device)
        found["segment_mass"] = weights @ inside.to(weights)[:, None]
    if request.columns is not None:
        found["columns"] = request.columns.to(weights)[:, None] @ weights
    if wanted.points is not None:
        keys = wanted.points.to(weights.device).expand(*weights.shape[:2], -1, -1)
        taken = weights.gather(3, keys.clamp(0, weights.shape[3] - 1).transpose(2, 3)).transpose(2, 3)
        found["points"] = taken.where((keys >= 0) & (keys < weights.shape[3]), 0)
    if "topk" in arguments:
        count = min(arguments["topk"], weights.shape[3])
        chosen = weights[:, :, arguments["rows"].to(weights.device)].topk(count, dim=-1)
        hidden = chosen.values <= 0
        found["topk_weight"] = chosen.values
        found["topk_index"] = chosen.indices.masked_fill(hidden, -1)
    return request.cleaned(AttentionStats(**found), 0)
