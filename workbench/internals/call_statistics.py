"""Output and statistics of one call of attention: by the kernels where they have its form, otherwise block by block."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UsageError, WorkbenchError
from ..kernels import AttentionStats, attention_stats
from .attention import SHORT, Call
from .layer_statistics import LayerChunk, Request
from .pattern_statistics import in_blocks


def attend(call: Call, request: Request, layer: int, start: int) -> tuple[Tensor, LayerChunk]:
    """A call's output `[batch, query, head, d_value]` and its statistics; `start` is its first position.

    Kernels do both in one pass where the layer sees all keys before a query, or those within a window. Other attention
    (chunks, chosen keys, a bias on scores), a model in float64 and short texts are computed from the pattern, block of
    rows by block.
    Raises `WorkbenchError` for attention that is not causal.
    """
    if call.edited is not None:
        edited: tuple[Tensor, LayerChunk] = call.edited.statistics(request, start)
        return edited
    count, keys = call.q.shape[2], call.k.shape[2]
    if keys < count and call.window is None:
        raise WorkbenchError(f"{type(call.module).__name__} was given {keys} keys for {count} queries")
    key_start = start + count - keys
    if not call.causal and count > 1:
        raise WorkbenchError(f"{type(call.module).__name__} is not causal; these statistics are of causal attention")
    plain, window = _window(call, start, key_start)
    known = plain and call.bias is None and (call.sinks is None or call.sinks.ndim == 1)
    known = known and call.q.dtype != torch.float64  # the kernels' sums are of float32
    if known and max(count, keys) > SHORT:
        output, found = _by_kernel(call, request, start, key_start, window)
    else:
        output, found = in_blocks(call, request, start, key_start)
    found["visible_keys"] = _visible_keys(call, start, key_start, plain, window)
    stats = request.cleaned(AttentionStats(**found), start, key_start)
    return output, LayerChunk(layer, start, stats, window)


def _by_kernel(
    call: Call, request: Request, start: int, key_start: int, window: int | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Output and statistics in one pass; a learned sink's share of each row is told apart from the keys'."""
    count, keys = call.q.shape[2], call.k.shape[2]
    given = [name for name in request.wanted.stats if name != "segment_mass"]
    needed = given if call.sinks is None else dict.fromkeys([*given, "lse"])
    try:
        found = attention_stats(
            call.q,
            call.k,
            call.v,
            stats=(*needed, "out"),
            scale=call.scaling,
            softcap=call.softcap,
            window=window,
            sink_logits=call.sinks,
            **request.arguments(start, start + count, key_start, key_start + keys),
        ).present()
    except ValueError as error:
        raise UsageError(f"attention statistics: {error}") from error
    out = found.pop("out")
    if call.sinks is not None:
        lse = found["lse"] if "lse" in given else found.pop("lse")
        share = torch.exp(call.sinks.to(lse)[None, :, None] - lse)
        found["learned_sink_mass"] = share
        if "entropy" in found:
            found["entropy"] = (found["entropy"] - torch.special.entr(share)).clamp(min=0)
    return out.transpose(1, 2), found


def _window(call: Call, start: int, key_start: int) -> tuple[bool, int | None]:
    """Whether a call sees all keys before each query, or those within a window, and how far back (None: all the way).

    Verified on rows of the model's own mask.
    """
    count, keys = call.q.shape[2], call.k.shape[2]
    if call.mask is None:
        return True, None
    positions = torch.arange(key_start, key_start + keys, device=call.k.device)
    last = call.visible(count - 1, count)
    if last is None or last.dtype != torch.bool:
        return False, None
    seen = int(last.reshape(-1, keys)[0].sum())
    window = None if seen >= min(keys, start + count) and call.window is None else call.window or seen
    for row in sorted({0, count // 3, count // 2, 2 * count // 3, count - 1}):
        mask = call.visible(row, row + 1)
        gap = start + row - positions
        expected = (gap >= 0) & (gap < (window or keys + start + 1))
        if mask is None or mask.dtype != torch.bool or not bool((mask[..., 0, :] == expected).all()):
            return False, None
    return True, window


def _visible_keys(call: Call, start: int, key_start: int, plain: bool, window: int | None) -> Tensor:
    """How many keys each query sees, int64 `[batch or 1, 1, query]`; the most of any head where heads differ."""
    count, keys = call.q.shape[2], call.k.shape[2]
    if plain:
        visible = torch.arange(start, start + count, device=call.q.device) + 1
        return (visible if window is None else visible.clamp(max=window))[None, None]
    rows = []
    step = max(16, (1 << 22) // keys)
    for first in range(0, count, step):
        mask = call.visible(first, min(first + step, count))
        if mask is None:
            visible = torch.arange(start + first, min(start + first + step, start + count), device=call.q.device) + 1
            rows.append(visible[None, None])
            continue
        seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        last = torch.arange(first, first + seen.shape[2], device=seen.device) + start - key_start
        if bool((seen & (torch.arange(keys, device=seen.device) > last[:, None])).any()):
            raise WorkbenchError(
                f"{type(call.module).__name__} sees later tokens (its mask is not causal); these statistics are of "
                "causal attention"
            )
        rows.append(seen.sum(-1).amax(1, keepdim=True))
    return torch.cat([row.expand(max(len(each) for each in rows), -1, -1) for row in rows], dim=2)
