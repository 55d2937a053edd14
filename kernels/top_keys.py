"""Weights of chosen pairs and chosen rows, once each row's lse is known; the same code on any device."""

import torch
from torch import Tensor

from .masks import positions, visible
from .problem import Problem

ROW_BLOCK_BYTES = 32 * 2**20  # scores held at a time while searching for top keys


def _masked(problem: Problem, products: Tensor, lse: Tensor, seen: Tensor) -> Tensor:
    """Scores less their row's lse, which is the logarithm of the weight; -inf where hidden."""
    scores = products * problem.scale
    if problem.softcap is not None:
        scores = problem.softcap * torch.tanh(scores / problem.softcap)
    return torch.where(seen & (lse > -torch.inf), scores - lse, -torch.inf)


def point_weights(problem: Problem, lse: Tensor) -> Tensor:
    """The weight of one key a row, `[batch, head, set, query]`."""
    assert problem.weights_at is not None
    batch, heads, n_query = problem.q.shape[:3]
    n_key = problem.k.shape[2]
    query = positions(problem.query_start, n_query, problem.q.device)
    result = torch.zeros(
        batch, heads, problem.weights_at.shape[1], n_query, dtype=torch.float32, device=problem.q.device
    )
    for b in range(batch):
        for s, point in enumerate(problem.weights_at[b]):
            index = (point - problem.key_start).clamp(0, n_key - 1)
            seen = (point >= problem.key_start) & (point < problem.key_start + n_key)
            seen &= visible(query, point, problem.causal, problem.window, problem.lag)
            if problem.key_mask is not None:
                seen &= problem.key_mask[b, index]
            if problem.block_mask is not None:
                seen &= problem.block_mask.visible(b, torch.arange(n_query, device=index.device), index)
            for h in range(heads):
                key = problem.k[b, h // problem.group, index].float()
                products = (problem.q[b, h].float() * key).sum(1)
                result[b, h, s] = _masked(problem, products, lse[b, h], seen).exp()
    return result


def top_keys(problem: Problem, lse: Tensor) -> tuple[Tensor, Tensor]:
    """The heaviest keys of the chosen rows and their weights, `[batch, head, row, k]` each."""
    assert problem.rows is not None
    batch, heads = problem.q.shape[:2]
    n_key = problem.k.shape[2]
    count = min(problem.topk, n_key)
    key = positions(problem.key_start, n_key, problem.q.device)
    shape = (batch, heads, problem.rows.numel(), problem.topk)
    weight = torch.zeros(shape, dtype=torch.float32, device=problem.q.device)
    index = torch.full(shape, -1, device=problem.q.device)
    step = max(1, ROW_BLOCK_BYTES // (4 * n_key))
    for b in range(batch):
        for h in range(heads):
            keys = problem.k[b, h // problem.group].float()
            for start in range(0, problem.rows.numel(), step):
                rows = problem.rows[start : start + step]
                at = (rows + problem.query_start)[:, None]
                seen = visible(at, key, problem.causal, problem.window, problem.lag)
                if problem.key_mask is not None:
                    seen = seen & problem.key_mask[b]
                if problem.block_mask is not None:
                    seen = seen & problem.block_mask.visible(b, rows[:, None], key - problem.key_start)
                products = problem.q[b, h, rows].float() @ keys.T
                best, where = _masked(problem, products, lse[b, h, rows, None], seen).topk(count, dim=1)
                # equals come in any order from topk: put the earlier key first
                where, order = where.sort(dim=1)
                best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
                where = torch.where(best > -torch.inf, where.gather(1, order) + problem.key_start, -1)
                weight[b, h, start : start + step, :count] = best.exp()
                index[b, h, start : start + step, :count] = where
    return weight, index
