"""The oracle: attention written out in float64 with the whole matrix, as plainly as it can be said."""

import torch
from torch import Tensor

from .masks import positions, visible
from .problem import Problem

Fields = dict[str, Tensor]


def reference_scores(problem: Problem) -> Tensor:
    """Scores `[batch, head, query, key]`, -inf where a key is hidden."""
    q, k = problem.q.double(), problem.k.double().repeat_interleave(problem.group, dim=1)
    scores = problem.scale * (q @ k.transpose(2, 3))
    if problem.softcap is not None:
        scores = problem.softcap * torch.tanh(scores / problem.softcap)
    query = positions(problem.query_start, q.shape[2], q.device)[:, None]
    key = positions(problem.key_start, k.shape[2], q.device)[None, :]
    seen = visible(query, key, problem.causal, problem.window, problem.lag)
    if problem.key_mask is not None:
        seen = seen & problem.key_mask[:, None, None, :]
    if (mask := problem.block_mask) is not None:
        seen = seen & mask.sees[mask.query.long()[:, :, None], mask.key.long()[:, None, :]][:, None]
    return scores.masked_fill(~seen, -torch.inf)


def reference_stats(problem: Problem) -> Fields:
    """Every statistic of the problem, read off the whole matrix of weights."""
    scores = reference_scores(problem)
    slot = None  # the learned sink's score, one more column of the softmax without a key
    if problem.sink_logits is not None:
        slot = problem.sink_logits.double()[None, :, None, None].expand(*scores.shape[:3], 1)
    if problem.lse is None:
        lse = torch.logsumexp(scores if slot is None else torch.cat([scores, slot], dim=3), dim=3)
    else:
        lse = problem.lse.double()
    scores = scores.masked_fill(lse[..., None] == -torch.inf, -torch.inf)
    base = lse.masked_fill(lse == -torch.inf, 0)[..., None]
    weights = torch.exp(scores - base)
    surprise = (base - scores).masked_fill(scores == -torch.inf, 0)  # -ln of the weight
    entropy = (weights * surprise).sum(3)
    if slot is not None:
        entropy = entropy + (torch.exp(slot - base) * (base - slot)).sum(3)
    fields = {"lse": lse, "entropy": entropy}
    fields |= _rows(problem, scores, weights)
    fields = {name: value for name, value in fields.items() if name in problem.want}
    fields |= _selected(problem, scores, weights)
    precise = problem.q.dtype == torch.float64
    rounded = {n: t.float() if t.is_floating_point() and not precise else t for n, t in fields.items()}
    if "out" in rounded:
        rounded["out"] = fields["out"].to(problem.q.dtype)
    return rounded


def _rows(problem: Problem, scores: Tensor, weights: Tensor) -> Fields:
    query = positions(problem.query_start, weights.shape[2], weights.device)[:, None]
    key = positions(problem.key_start, weights.shape[3], weights.device)[None, :]
    gap = (query - key).abs()
    first = problem.sink_start[:, None, None, None]
    is_sink = (key >= first) & (key < first + problem.sink)
    is_recent = (gap < problem.recent) & ~is_sink
    best, where = scores.max(dim=3)
    rows = {
        "max_weight": weights.amax(dim=3),
        "argmax": torch.where(best > -torch.inf, where + problem.key_start, -1),
        "distance": (weights * gap).sum(3),
        "sink_mass": (weights * is_sink).sum(3),
        "recent_mass": (weights * is_recent).sum(3),
        "far_mass": (weights * (~is_sink & ~is_recent)).sum(3),
    }
    if problem.segments is not None:
        member = problem.segments[:, :, None] == torch.arange(problem.n_segments, device=weights.device)
        rows["segment_mass"] = weights @ member[:, None].double()
    if problem.v is not None:
        rows["out"] = weights @ problem.v.double().repeat_interleave(problem.group, dim=1)
    return rows


def _selected(problem: Problem, scores: Tensor, weights: Tensor) -> Fields:
    found = {}
    if problem.received is not None:
        found["received"] = problem.received.double()[:, None] @ weights
    if problem.weights_at is not None:
        key = positions(problem.key_start, weights.shape[3], weights.device)
        at = problem.weights_at[:, None, :, :, None] == key
        found["weights_at"] = (weights[:, :, None] * at).sum(-1)
    if problem.topk and problem.rows is not None:
        best, where = scores[:, :, problem.rows].sort(dim=3, descending=True, stable=True)
        weight = weights[:, :, problem.rows].gather(3, where)
        index = torch.where(best > -torch.inf, where + problem.key_start, -1)
        missing = max(0, problem.topk - index.shape[3])  # more keys asked for than there are
        found["topk_weight"] = torch.nn.functional.pad(weight[..., : problem.topk], (0, missing))
        found["topk_index"] = torch.nn.functional.pad(index[..., : problem.topk], (0, missing), value=-1)
    return found


def reference_streaming(problem: Problem, sink: Tensor, recent: Tensor) -> Tensor:
    """Attention under the Λ mask, with the whole matrix; sink and recent are `[kv_head]`."""
    assert problem.v is not None
    query = positions(problem.query_start, problem.q.shape[2], problem.q.device)[:, None]
    key = positions(problem.key_start, problem.k.shape[2], problem.q.device)[None, :]
    n_sink = sink.repeat_interleave(problem.group)[:, None, None]
    near = (query - key) < recent.repeat_interleave(problem.group)[:, None, None]
    kept = near | (key < problem.sink_start[:, None, None, None] + n_sink)
    scores = reference_scores(problem).masked_fill(~kept, -torch.inf)
    weights = torch.softmax(scores, dim=3).masked_fill(~kept | (scores == -torch.inf), 0)
    return (weights @ problem.v.double().repeat_interleave(problem.group, dim=1)).to(problem.q.dtype)
