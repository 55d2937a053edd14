"""The attention seam: one function in transformers' interface through which every model's attention passes.

By default it computes what `sdpa` computes. While a run is watching, it hands the queries, keys and values as attention
uses them to whoever watches that module, who may change them or compute the output instead. It is exact where `sdpa`
is not made for it (a softcap on scores), and nothing that is query × key is allocated above `LONG` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from .attention_call import EDITED, Call, LongMask, Unsupported

NAME = "workbench"
LONG = 4096
"""Above this many queries or keys no query × key tensor is allocated."""
SHORT = 64
"""Up to this many queries and keys attention is written out, so that it is the pattern times the values to the bit."""
_CHUNK = 1 << 20
"""Entries of query × key that one step of chunked attention holds for each head."""


Watcher = Callable[[Call], "Tensor | None"]
"""Sees a call, may set its q, k and v, and may return the output `[batch, query, head, d_head]` in its place."""

_watchers: dict[nn.Module | None, list[Watcher]] = {}


@contextmanager
def watching(watchers: Mapping[nn.Module, Watcher] | Mapping[None, Watcher]) -> Iterator[None]:
    """Hand every attention call of these modules to their watcher until the block ends, ahead of outer blocks'.

    None stands for every module.
    """
    for module, watcher in watchers.items():
        _watchers.setdefault(module, []).insert(0, watcher)
    try:
        yield
    finally:
        for module, watcher in watchers.items():
            _watchers[module].remove(watcher)
            if not _watchers[module]:
                del _watchers[module]


def scores(call: Call, queries: Tensor | None = None) -> Tensor:
    """Attention logits as they are read: `_logits`, multiplied in float32 where the model computes in half precision.

    Fused attention keeps them in float32 too: rounded to bfloat16, a score of 20 would be off by up to 0.06.
    """
    if call.edited is not None:
        return call.edited.scores(queries)
    wide = torch.promote_types(call.q.dtype, torch.float32)
    return _logits(replace(call, q=call.q.to(wide), k=call.k.to(wide)), queries)


def _logits(call: Call, queries: Tensor | None = None) -> Tensor:
    """Attention logits of the asked queries `[batch, query]` (None: all) after scale, softcap and bias; no mask.

    `[batch, head, query, key]`; keys of long texts are not expanded for grouped-query attention.
    """
    q, k = call.q, _of_heads(call.k, call.q.shape[1])
    if queries is not None:
        q = q.gather(2, queries.to(q.device)[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3]))
    groups = q.shape[1] // k.shape[1]
    grouped = q.unflatten(1, (-1, groups)).flatten(2, 3)
    logits = (grouped @ k.transpose(-1, -2)).unflatten(2, (groups, -1)).flatten(1, 2) * call.scaling
    if call.softcap is not None:
        logits = call.softcap * torch.tanh(logits / call.softcap)
    if call.bias is not None:
        logits = logits + _rows_of(call.bias, call, queries)
    return logits


def _of_heads(keys: Tensor, heads: int) -> Tensor:
    """Keys or values as they are multiplied, `[batch, kv_head, key, d]`: those of few tokens once for every head.

    So eager attention multiplies them, and its sums are met to the last bit.
    """
    return keys if keys.shape[2] > SHORT else keys.repeat_interleave(heads // keys.shape[1], dim=1)


def _rows_of(value: Tensor, call: Call, queries: Tensor | None) -> Tensor:
    """What is broadcast over queries, for the asked ones only."""
    if queries is None or value.shape[2] == 1:
        return value
    value = value.expand(call.q.shape[0], -1, -1, -1)
    columns = queries.to(value.device)[:, None, :, None]
    return value.gather(2, columns.expand(-1, value.shape[1], -1, value.shape[3]))


def pattern(call: Call, queries: Tensor) -> Tensor:
    """Attention weights of the asked queries `[batch, query]`: `[batch, head, query, key]`.

    Each row sums to 1, less what a learned sink takes. In float32 at least, as the scores they are of.
    """
    if call.edited is not None:
        return call.edited.pattern(queries)
    queries = queries.to(call.q.device)
    return _weights(scores(call, queries), visible_to(call, queries), sink_rows(call, queries))


def sink_rows(call: Call, queries: Tensor | None = None) -> Tensor | None:
    """The learned sinks' scores for the asked queries, broadcast to `[batch, head, query, 1]`."""
    if call.sinks is None:
        return None
    whole = call.sinks[None, :, None, None] if call.sinks.ndim == 1 else call.sinks
    return _rows_of(whole, call, queries)


def visible_to(call: Call, queries: Tensor) -> Tensor | None:
    """The mask's rows for the asked queries of each row of the batch, `[batch, 1, query, key]`."""
    length = call.k.shape[2]
    if isinstance(call.mask, LongMask):
        made = {column: call.mask.rows(column, column + 1)[:, :, 0] for column in queries.unique().tolist()}
        rows = [[made[column][row] for column in columns] for row, columns in enumerate(queries.tolist())]
        return torch.stack([torch.stack(row, dim=1) for row in rows])
    if call.mask is not None:
        mask = call.mask[..., :length].expand(len(queries), -1, -1, -1)
        return mask.gather(2, queries[:, None, :, None].expand(-1, mask.shape[1], -1, length))
    if not call.causal or call.q.shape[2] == 1:
        return None
    last = queries + length - call.q.shape[2]
    return torch.arange(length, device=queries.device) <= last[:, None, :, None]


def attend(call: Call) -> Tensor:
    """Attention as the model defines it, or as it is edited: `[batch, query, head, d_value]`."""
    if call.edited is not None:
        return call.edited.attend()
    length = call.q.shape[2]
    if 1 < length <= SHORT and call.k.shape[2] <= SHORT:
        return _explicit(call)
    if call.softcap is None and call.sinks is None and not isinstance(call.mask, LongMask):
        mask = None if call.mask is None else call.mask[..., : call.k.shape[2]]
        options = call.options if call.bias is None else {**call.options, "position_bias": call.bias}
        return sdpa_attention_forward(
            call.module, call.q, call.k, call.v, mask, scaling=call.scaling, is_causal=call.causal, **options
        )[0]
    step = max(16, _CHUNK // call.k.shape[2])
    return torch.cat([_chunk(call, start, min(start + step, length)) for start in range(0, length, step)], dim=1)


def part(call: Call, start: int, stop: int) -> tuple[Call, int]:
    """The call of the queries `start..stop` alone, on the keys that any of them sees, and the first of those keys."""
    mask = call.visible(start, stop)
    first, last = 0, call.k.shape[2]
    if mask is not None and mask.dtype == torch.bool:
        seen = mask.flatten(0, 2).any(dim=0).nonzero()[:, 0]
        first, last = (int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, 1)
    found = replace(
        call,
        q=call.q[:, :, start:stop],
        k=call.k[:, :, first:last],
        v=call.v[:, :, first:last],
        mask=None if mask is None else mask[..., first:last],
        causal=False,
        bias=_cut(call.bias, start, stop, first, last),
        sinks=call.sinks if call.sinks is None or call.sinks.ndim == 1 else _cut(call.sinks, start, stop, 0, 1),
    )
    return found, first


def _cut(value: Tensor | None, start: int, stop: int, first: int, last: int) -> Tensor | None:
    """Rows and columns of what is broadcast to `[batch, head, query, key]`."""
    if value is None:
        return None
    value = value if value.shape[2] == 1 else value[:, :, start:stop]
    return value if value.shape[3] == 1 else value[..., first:last]


def mixed(weights: Tensor, v: Tensor) -> Tensor:
    """Weights `[batch, head, query, key]` times values `[batch, kv_head, key, d]`: `[batch, query, head, d]`."""
    v = _of_heads(v, weights.shape[1])
    groups = weights.shape[1] // v.shape[1]
    summed = weights.unflatten(1, (-1, groups)).flatten(2, 3) @ v
    return summed.unflatten(2, (groups, -1)).flatten(1, 2).transpose(1, 2)


def _chunk(call: Call, start: int, stop: int) -> Tensor:
    """The output for the queries `start..stop`, computed on the keys that any of them sees."""
    rows, _ = part(call, start, stop)
    return attend(rows) if call.softcap is None and call.sinks is None else _explicit(rows)


def log_normaliser(call: Call) -> Tensor:
    """The logarithm of what each row's weights are divided by, `[batch, head, query]`, in float32 at least."""
    logits, mask = scores(call), call.visible(0, call.q.shape[2])
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    sinks = sink_rows(call)
    if sinks is not None:
        logits = torch.cat([logits, sinks.to(logits.dtype).expand(*logits.shape[:3], 1)], dim=-1)
    return logits.logsumexp(-1)


def _explicit(call: Call) -> Tensor:
    """The pattern of all queries times the values, as eager attention writes it."""
    mask = call.visible(0, call.q.shape[2])
    return mixed(_weights(_logits(call), mask, sink_rows(call)), call.v)


def _weights(logits: Tensor, mask: Tensor | None, sinks: Tensor | None = None) -> Tensor:
    """Softmax over the keys that the mask lets through, in float32 as eager attention does; zero where none is seen.

    Learned sinks take their share of each row and are not in the result.
    """
    if mask is not None and mask.dtype == torch.bool:
        logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    elif mask is not None:
        logits = logits + mask
    at_least = torch.promote_types(logits.dtype, torch.float32)
    if sinks is None:
        return logits.softmax(-1, dtype=at_least).to(logits.dtype)
    whole = torch.cat([logits, sinks.to(logits).expand(*logits.shape[:3], 1)], dim=-1)
    return whole.softmax(-1, dtype=at_least)[..., :-1].to(logits.dtype)


def _forward(module: nn.Module, *arguments: Any, **options: Any) -> tuple[Tensor, None]:
    """What transformers calls for the attention implementation `workbench`."""
    call = Call.of(module, *arguments, **options)
    output = None
    for watcher in (*_watchers.get(module, ()), *_watchers.get(None, ())):
        result = watcher(call)
        output = result if output is None else output
    return (attend(call) if output is None else output).contiguous(), None


def _mask(
    batch_size: int, q_length: int, kv_length: int, q_offset: int = 0, **arguments: Any
) -> Tensor | LongMask | None:
    """What transformers calls to make the mask: as for `sdpa`, but never larger than `LONG` × `LONG`."""
    arguments |= {"batch_size": batch_size, "q_length": q_length, "kv_length": kv_length, "q_offset": q_offset}
    if q_length == 1 or kv_length <= LONG or _plain(arguments):
        return sdpa_mask(**arguments)
    return LongMask((batch_size, 1, q_length, kv_length), arguments)


def _plain(arguments: dict[str, Any]) -> bool:
    """Whether `sdpa_mask` makes no mask at all because the attention is plainly causal."""
    padding, window = arguments.get("attention_mask"), arguments.get("local_size")
    return (
        arguments.get("allow_is_causal_skip", True)
        and arguments["q_length"] == arguments["kv_length"]
        and (padding is None or bool(padding.all()))
        and (window is None or arguments["kv_length"] < window)
    )


__all__ = [
    "EDITED",
    "LONG",
    "NAME",
    "Call",
    "LongMask",
    "Unsupported",
    "attend",
    "mixed",
    "part",
    "pattern",
    "scores",
    "sink_rows",
    "visible_to",
    "watching",
]

AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, _mask)
