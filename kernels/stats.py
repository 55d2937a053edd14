"""The front door: check the arguments, choose a backend, collect the fields."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from . import problem as check
from .backends import Backend, choose_backend
from .block_mask import BlockMask
from .earlier_words import understood
from .problem import Problem
from .result import ROW_STATS, AttentionStats
from .top_keys import point_weights, top_keys

ALLOWED = (*ROW_STATS, "out")


@understood
def attention_stats(
    q: Tensor,
    k: Tensor,
    v: Tensor | None = None,
    *,
    stats: Sequence[str] = ROW_STATS,
    lse: Tensor | None = None,
    scale: float | None = None,
    causal: bool = True,
    softcap: float | None = None,
    window: int | None = None,
    lag: int = 0,
    block_mask: BlockMask | None = None,
    sink_logits: Tensor | None = None,
    key_mask: Tensor | None = None,
    query_start: int | None = None,
    key_start: int = 0,
    segments: Tensor | None = None,
    n_segments: int | None = None,
    sink: int = 4,
    recent: int = 256,
    sink_start: Tensor | int | None = None,
    received: Literal["sum"] | Tensor | None = None,
    weights_at: Tensor | None = None,
    topk: int = 0,
    rows: Tensor | Sequence[int] | None = None,
    backend: Backend = "auto",
) -> AttentionStats:
    """Exact statistics of softmax attention, and its output if wanted, in memory that grows with T and not with T².

    Args:
        q: `[batch, head, query, d]`, as attention uses it (after norms and positions).
        k, v: `[batch, kv_head, key, d]`; query head h reads kv head h // (head / kv_head). v is needed for "out"
            only, and may have another head size.
        stats: names of row statistics, and "out". "segment_mass" comes whenever `segments` is given.
        lse: `[batch, head, query]`, known from elsewhere: weights are exp(score - lse), sums run over the given keys.
        scale: factor on q·k; 1/sqrt(d) if None.
        causal: whether a query sees only keys at its own position or before.
        softcap: scores become softcap * tanh(score / softcap).
        window: a query sees only keys fewer than this many tokens away.
        lag: a query sees only keys at least this many tokens before it; causal attention only.
        block_mask: which classes of queries see which classes of keys, beside the other masks.
        sink_logits: `[head]`, a learned score without a key that joins the normaliser; masses then sum to less than 1.
        key_mask: `[batch, key]` bool, True for a real token.
        query_start, key_start: positions of the first row and key; by default the rows are the last ones.
        segments: `[key]` or `[batch, key]` int, -1 for a key in no segment; `n_segments` of them.
        sink, recent: a key is a sink if it is among the first `sink` real ones, else recent if fewer than `recent`
            tokens away, else far.
        sink_start: position `[batch]` of the first real key, where padding before `key_start` hides it.
        received: "sum" for the attention each key receives from all given rows (padding rows too: use weights of zero
            to leave rows out), or weights `[set, query]` (`[batch, set, query]`).
        weights_at: key positions `[set, query]` (`[batch, set, query]`); a hidden or absent key, and -1, has weight 0.
        topk, rows: the `topk` heaviest keys of the rows at these positions (every row if None).
        backend: "auto" takes Triton on CUDA and the CPU kernels on the CPU; "reference" builds T×T in float64.

    Returns:
        AttentionStats: natural logarithms, float32; `out` in v's dtype. The reference keeps float64 inputs float64.

    Raises:
        ValueError: arguments that do not fit together, with what is allowed.
        RuntimeError: the backend cannot run here, or was asked for gradients (only the reference has them).

    Source: online softmax with rescaled sums (Dao et al., arXiv 2205.14135), statistics as further sums.

    Example:
        >>> import torch
        >>> from workbench.kernels import attention_stats
        >>> q = k = torch.zeros(1, 1, 4, 8)                   # all scores equal: every key weighs the same
        >>> attention_stats(q, k, stats=["entropy"]).entropy.exp().round()
        tensor([[[1., 2., 3., 4.]]])
    """
    unknown = [name for name in stats if name not in ALLOWED]
    if unknown:
        raise ValueError(f"unknown statistics {unknown}; allowed are {list(ALLOWED)}")
    want = set(stats)
    if segments is None:
        want.discard("segment_mass")
        if "segment_mass" in stats and tuple(stats) != ROW_STATS:
            raise ValueError('"segment_mass" needs segments, an integer for each key')
    else:
        want.add("segment_mass")
    check.check_qkv(q, k, v)
    if "out" in want and v is None:
        raise ValueError('"out" needs v')
    if "out" in want and lse is not None:
        raise ValueError('"out" is not computed when lse is given; leave one of them away')
    if "lse" in want and lse is not None:
        want.discard("lse")
    query_start = check.check_starts(q, k, query_start, key_start)
    key_mask = check.check_key_mask(key_mask, k)
    segments, n_segments = check.check_segments(segments, n_segments, k)
    for name, value, least in (("sink", sink, 0), ("recent", recent, 0), ("window", window, 1), ("lag", lag, 0)):
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; give {least} or more")
    if lag and not causal:
        raise ValueError(f"lag is {lag}, and attention is not causal; leave one of them away")
    if softcap is not None and softcap <= 0:
        raise ValueError(f"softcap is {softcap}; give a positive number, or None for no cap")
    exact = torch.float64 if q.dtype == torch.float64 else torch.float32
    if lse is not None:
        if lse.shape != q.shape[:3]:
            raise ValueError(f"lse has shape {tuple(lse.shape)}; give {tuple(q.shape[:3])}")
        lse = lse.to(q.device, exact)
    if sink_logits is not None:
        if sink_logits.shape != q.shape[1:2]:
            raise ValueError(
                f"sink_logits has shape {tuple(sink_logits.shape)}; give one for each of {q.shape[1]} heads"
            )
        sink_logits = sink_logits.to(q.device, exact)
    one_set = isinstance(received, str)
    if isinstance(received, str):
        if received != "sum":
            raise ValueError(f'received is "{received}"; give "sum" or weights [set, query]')
        received = torch.ones(1, q.shape[2], dtype=torch.float32)
    if weights_at is not None:
        weights_at = check.per_query("weights_at", weights_at, q, torch.int64).expand(q.shape[0], -1, -1)
        if int(weights_at.min()) < -1:
            raise ValueError(f"weights_at holds {int(weights_at.min())}; give key positions, or -1 for none")
    problem = Problem(
        q=q,
        k=k,
        v=v if "out" in want else None,
        scale=q.shape[3] ** -0.5 if scale is None else float(scale),
        causal=causal,
        softcap=softcap,
        window=window,
        lag=lag,
        block_mask=None if block_mask is None else block_mask.checked(q, k),
        sink_logits=sink_logits,
        key_mask=key_mask,
        query_start=query_start,
        key_start=key_start,
        segments=segments,
        n_segments=n_segments,
        sink=sink,
        recent=recent,
        sink_start=check.sink_positions(sink_start, key_mask, k, key_start),
        lse=lse,
        received=None if received is None else check.per_query("received", received, q, exact),
        weights_at=weights_at,
        topk=topk,
        rows=check.check_rows(rows, topk, q, query_start),
        want=frozenset(want),
    )
    return _run(problem, backend, one_set)


def _run(problem: Problem, backend: Backend, one_set: bool) -> AttentionStats:
    chosen = choose_backend(backend, problem.q, problem.k, problem.v)
    if chosen == "reference":
        from .reference import reference_stats

        found = reference_stats(problem)
    else:
        if chosen == "cpu":
            from .cpu import compute
        else:
            from .triton_stats import compute
        with torch.cuda.device_of(problem.q):  # Triton launches on the current device, wherever the tensors are
            found, lse = compute(problem)
        if problem.weights_at is not None:
            found["weights_at"] = point_weights(problem, lse)
        if problem.topk:
            found["topk_weight"], found["topk_index"] = top_keys(problem, lse)
    if one_set and "received" in found:
        found["received"] = found["received"].squeeze(2)
    return AttentionStats(**found)
