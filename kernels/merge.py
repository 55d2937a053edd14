"""Row statistics over the union of two key sets, from the statistics over each."""

import torch
from torch import Tensor

from .result import AttentionStats

AVERAGED = ("distance", "sink_mass", "recent_mass", "far_mass", "weights_at")


def merge_stats(a: AttentionStats, b: AttentionStats) -> AttentionStats:
    """Statistics of the same rows `[batch, head, query]` over the keys of both; associative, exact up to rounding.

    The key sets must be disjoint (chunks, shards, ring steps) and a learned sink may be in one of them only.

    Raises:
        ValueError: lse is missing, the fields differ, or received is present (it needs the merged lse: merge first,
            then call `attention_stats` with `lse` and add up what keys received).

    Source: the merge step of online softmax; entropy by the chain rule H = Σ w (H_x - ln w).

    Example:
        >>> import torch
        >>> from workbench.kernels import attention_stats, merge_stats
        >>> q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 6, 8)
        >>> parts = [attention_stats(q, k[:, :, at : at + 3], key_start=at, query_start=5) for at in (0, 3)]
        >>> merged, whole = merge_stats(*parts), attention_stats(q, k)
        >>> torch.allclose(merged.entropy, whole.entropy, atol=1e-5)
        True
    """
    left, right = a.present(), b.present()
    if "received" in left or "received" in right:
        raise ValueError(
            "received cannot be merged: it needs the merged lse; merge first, then ask for received with lse"
        )
    if left.keys() != right.keys():
        raise ValueError(f"the two have different fields: {sorted(left)} and {sorted(right)}")
    if "lse" not in left:
        raise ValueError('merging needs lse: ask for "lse" in stats')
    if left["lse"].shape != right["lse"].shape:
        raise ValueError(f"the two have different rows: {tuple(left['lse'].shape)} and {tuple(right['lse'].shape)}")
    la, lb = left["lse"].double(), right["lse"].double()
    lse = torch.logaddexp(la, lb)
    base = lse.masked_fill(lse == -torch.inf, 0)
    wa, wb = torch.exp(la - base), torch.exp(lb - base)
    merged: dict[str, Tensor] = {"lse": lse}

    def average(name: str, shape: tuple[int, ...]) -> Tensor:
        return wa.view(shape) * left[name].double() + wb.view(shape) * right[name].double()

    rows = tuple(lse.shape)
    for name in AVERAGED:
        if name in left:
            merged[name] = average(name, (*rows[:2], 1, rows[2]) if name == "weights_at" else rows)
    for name in ("out", "segment_mass"):
        if name in left:
            merged[name] = average(name, (*rows, 1))
    if "entropy" in left:
        merged["entropy"] = average("entropy", rows) - torch.xlogy(wa, wa) - torch.xlogy(wb, wb)
    if "max_weight" in left:
        merged["max_weight"] = torch.maximum(wa * left["max_weight"], wb * right["max_weight"])
    if "argmax" in left:
        if "max_weight" not in left:
            raise ValueError("merging argmax needs max_weight: ask for both in stats")
        merged["argmax"] = _merge_argmax(left, right, wa, wb)
    if "topk_weight" in left:
        raise ValueError("topk cannot be merged when rows are chosen: ask for it with the merged lse, as for received")
    like = {name: value.dtype for name, value in left.items()}
    return AttentionStats(**{name: value.to(like[name]) for name, value in merged.items()})


def _merge_argmax(left: dict[str, Tensor], right: dict[str, Tensor], wa: Tensor, wb: Tensor) -> Tensor:
    pa, pb = wa * left["max_weight"], wb * right["max_weight"]
    ia, ib = left["argmax"], right["argmax"]
    # the larger weight; of equals the earlier key, where -1 is no key at all
    earlier = (ib < 0) | ((ia >= 0) & (ia <= ib))
    return torch.where((pa > pb) | ((pa == pb) & earlier), ia, ib)
