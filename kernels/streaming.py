"""Attention of streaming heads: the first keys and the most recent ones."""

import torch
from torch import Tensor

from . import problem as check
from .backends import Backend, choose_backend
from .problem import Problem


def streaming_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    sink: Tensor | int,
    recent: Tensor | int,
    scale: float | None = None,
    key_mask: Tensor | None = None,
    query_start: int | None = None,
    key_start: int = 0,
    sink_start: Tensor | int | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Causal attention where key j is visible to query i if j is one of the first `sink` keys or i - j < recent.

    Args:
        q: `[batch, head, query, d]`; k, v: `[batch, kv_head, key, d]`.
        sink, recent: tokens, one int or `[kv_head]` ints; recent >= T is full attention.
        scale: factor on q·k; 1/sqrt(d) if None.
        key_mask: `[batch, key]` bool, True for a real token; sinks count from the first real key.
        query_start, key_start, sink_start: positions, as in `attention_stats`.
        backend: as in `attention_stats`; only "reference" has gradients.

    Returns:
        `[batch, head, query, d_value]` in q's dtype; zeros where no key is visible.

    Raises:
        ValueError: arguments that do not fit together, with what is allowed.
        RuntimeError: the backend cannot run here, or was asked for gradients.

    Source: DuoAttention (arXiv 2410.10819), the token-exact mask; keys keep their positions.

    Example:
        >>> import torch
        >>> from workbench.kernels import streaming_attention
        >>> q = k = torch.zeros(1, 1, 4, 8)
        >>> v = torch.arange(4.0).expand(1, 1, 8, 4).transpose(2, 3).contiguous()   # each value is its position
        >>> streaming_attention(q, k, v, sink=1, recent=2)[0, 0, :, 0]              # sees key 0 and the last two
        tensor([0.0000, 0.5000, 1.0000, 1.6667])
    """
    check.check_qkv(q, k, v)
    query_start = check.check_starts(q, k, query_start, key_start)
    key_mask = check.check_key_mask(key_mask, k)
    problem = Problem(
        q=q,
        k=k,
        v=v,
        scale=q.shape[3] ** -0.5 if scale is None else float(scale),
        key_mask=key_mask,
        query_start=query_start,
        key_start=key_start,
        sink_start=check.sink_positions(sink_start, key_mask, k, key_start),
    )
    sinks, recents = _per_kv_head("sink", sink, k), _per_kv_head("recent", recent, k)
    chosen = choose_backend(backend, q, k, v)
    if chosen == "reference":
        from .reference import reference_streaming

        return reference_streaming(problem, sinks, recents)
    if chosen == "cpu":
        from .cpu_streaming import stream
    else:
        from .triton_streaming import stream
    with torch.cuda.device_of(q):  # Triton launches on the current device, wherever the tensors are
        return stream(problem, sinks, recents)


def _per_kv_head(name: str, value: Tensor | int, k: Tensor) -> Tensor:
    counts = torch.as_tensor(value, device=k.device)
    if counts.dtype.is_floating_point or counts.dtype == torch.bool or counts.shape not in ((), (k.shape[1],)):
        raise ValueError(
            f"{name} is {counts.dtype} {tuple(counts.shape)}; give an int, or one for each of {k.shape[1]} kv heads"
        )
    if int(counts.min()) < 0:
        raise ValueError(f"{name} holds {int(counts.min())}; give 0 or more")
    return counts.to(torch.int64).expand(k.shape[1])
