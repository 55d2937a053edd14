"""The checked arguments of one call, as every backend reads them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .block_mask import BlockMask
from .masks import first_real_key

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One attention call; integers are absolute positions, optional parts are None."""

    q: Tensor  # [batch, head, query, d]
    k: Tensor  # [batch, kv_head, key, d]
    v: Tensor | None  # [batch, kv_head, key, d_value]
    scale: float
    causal: bool = True
    softcap: float | None = None
    window: int | None = None
    lag: int = 0
    block_mask: BlockMask | None = None
    sink_logits: Tensor | None = None  # [head] float32
    key_mask: Tensor | None = None  # [batch, key] bool
    query_start: int
    key_start: int
    segments: Tensor | None = None  # [batch, key] int32
    n_segments: int = 0
    sink: int = 0
    recent: int = 0
    sink_start: Tensor  # [batch] int64
    lse: Tensor | None = None  # [batch, head, query] float32 (float64 for the reference)
    received: Tensor | None = None  # [batch or 1, set, query] float32
    weights_at: Tensor | None = None  # [batch, set, query] int64
    topk: int = 0
    rows: Tensor | None = None  # [row] int64, counted from the first given row
    want: frozenset[str] = frozenset()

    @property
    def group(self) -> int:
        """Query heads that share one kv head."""
        return self.q.shape[1] // self.k.shape[1]

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """`[batch, head, query, d_value]`."""
        assert self.v is not None
        batch, heads, queries, _ = self.q.shape
        return batch, heads, queries, self.v.shape[3]


def check_qkv(q: Tensor, k: Tensor, v: Tensor | None) -> None:
    """Raise ValueError unless the three tensors fit together as grouped-query attention."""
    given = {"q": q, "k": k} | ({} if v is None else {"v": v})
    for name, tensor in given.items():
        if tensor.ndim != 4:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; give four axes: batch, head, position, d")
        if tensor.dtype not in FLOATS:
            raise ValueError(f"{name} is {tensor.dtype}; give float32, float16, bfloat16 or float64")
        if tensor.dtype != q.dtype or tensor.device != q.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, q is {q.dtype} on {q.device}; give one dtype and device"
            )
    if v is not None and v.shape[:3] != k.shape[:3]:
        raise ValueError(f"v has shape {tuple(v.shape)}, k {tuple(k.shape)}; they must agree but for the head size")
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} differ in batch or head size")
    if min(q.shape) == 0 or min(k.shape) == 0 or (v is not None and v.shape[3] == 0):
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} must not be empty on any axis")
    if q.shape[1] % k.shape[1]:
        raise ValueError(f"{q.shape[1]} query heads cannot share {k.shape[1]} kv heads evenly")


def check_starts(q: Tensor, k: Tensor, query_start: int | None, key_start: int) -> int:
    """The position of the first row: given, or such that the rows are the last of the keys."""
    if key_start < 0:
        raise ValueError(f"key_start is {key_start}; positions count from 0")
    if query_start is None:
        query_start = key_start + k.shape[2] - q.shape[2]
        if query_start < 0:
            raise ValueError(f"{q.shape[2]} queries cannot be the last rows of {k.shape[2]} keys; give query_start")
    if query_start < 0:
        raise ValueError(f"query_start is {query_start}; positions count from 0")
    return query_start


def check_key_mask(key_mask: Tensor | None, k: Tensor) -> Tensor | None:
    """The padding mask `[batch, key]` on k's device."""
    if key_mask is None:
        return None
    wanted = (k.shape[0], k.shape[2])
    if tuple(key_mask.shape) != wanted or key_mask.dtype != torch.bool:
        raise ValueError(
            f"key_mask is {key_mask.dtype} {tuple(key_mask.shape)}; give bool {wanted}, True for a real token"
        )
    return key_mask.to(k.device)


def sink_positions(sink_start: Tensor | int | None, key_mask: Tensor | None, k: Tensor, key_start: int) -> Tensor:
    """Position `[batch]` from which sinks count: given, or the first real key."""
    if sink_start is None:
        return first_real_key(key_mask, k.shape[0], key_start, k.device)
    return torch.as_tensor(sink_start, dtype=torch.int64, device=k.device).expand(k.shape[0])


def check_segments(segments: Tensor | None, n_segments: int | None, k: Tensor) -> tuple[Tensor | None, int]:
    """Segment ids `[batch, key]` int32 and their number."""
    if segments is None:
        if n_segments is not None:
            raise ValueError("n_segments is given without segments")
        return None, 0
    segments = torch.as_tensor(segments, device=k.device)
    wanted = (k.shape[0], k.shape[2])
    if segments.dtype.is_floating_point or segments.dtype == torch.bool or segments.shape not in (wanted[1:], wanted):
        raise ValueError(
            f"segments is {segments.dtype} {tuple(segments.shape)}; give integers of shape {wanted[1:]} or {wanted}"
        )
    low, high = int(segments.min()), int(segments.max())
    count = high + 1 if n_segments is None else n_segments
    if low < -1 or high >= count or count < 1:
        raise ValueError(f"segments holds ids from {low} to {high}; allowed are -1 (none) and 0 to {count - 1}")
    return segments.to(torch.int32).expand(wanted).contiguous(), count


def per_query(name: str, value: Tensor, q: Tensor, dtype: torch.dtype) -> Tensor:
    """`[set, query]` or `[batch, set, query]` as a batch of sets."""
    value = torch.as_tensor(value, device=q.device)
    if value.ndim == 2:
        value = value[None]
    if value.ndim != 3 or value.shape[0] not in (1, q.shape[0]) or value.shape[2] != q.shape[2]:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}; give [set, {q.shape[2]}] or [{q.shape[0]}, set, {q.shape[2]}]"
        )
    return value.to(dtype)


def check_rows(rows: Tensor | Sequence[int] | None, topk: int, q: Tensor, query_start: int) -> Tensor | None:
    """Chosen rows as indices into the given ones."""
    if topk < 0:
        raise ValueError(f"topk is {topk}; give a count, 0 for none")
    if rows is None:
        return torch.arange(q.shape[2], device=q.device) if topk else None
    if not topk:
        raise ValueError("rows is given without topk; say how many keys a row")
    chosen = torch.as_tensor(rows, dtype=torch.int64, device=q.device).reshape(-1)
    last = query_start + q.shape[2] - 1
    if chosen.numel() == 0 or int(chosen.min()) < query_start or int(chosen.max()) > last:
        raise ValueError(f"rows must be positions from {query_start} to {last}; got {chosen.tolist()}")
    return chosen - query_start
