"""The attention seam: one function in transformers' interface through which every model's attention passes.

By default it computes what `sdpa` computes. While a run is watching, it hands the queries, keys and values as attention
uses them to whoever watches that module, who may change them or compute the output instead. It is exact where `sdpa`
is not made for it (a softcap on scores), and nothing that is query × key is allocated above `LONG` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..errors import WorkbenchError

NAME = "workbench"
LONG = 4096
"""Above this many queries or keys no query × key tensor is allocated."""
EDITED = "edited"
"""The option that hands the edits of a call on, where an engine gives its arguments to attention anew."""
_CHUNK = 1 << 20
"""Entries of query × key that one step of chunked attention holds for each head."""


class Unsupported(WorkbenchError):
    """Attention of a kind that is not computed here."""


@dataclass(frozen=True)
class LongMask:
    """A mask too large to hold: which keys each query sees, made for a few queries at a time."""

    shape: tuple[int, int, int, int]
    """As the tensor would have it: `[batch, 1, query, key]`."""
    arguments: dict[str, Any]

    def rows(self, start: int, stop: int) -> Tensor:
        """Which keys the queries `start..stop` see, bool `[batch, 1, query, key]`."""
        offset = self.arguments["q_offset"] + start
        changed = {"q_offset": offset, "q_length": stop - start, "allow_is_causal_skip": False}
        mask = sdpa_mask(**self.arguments | changed)
        assert mask is not None
        return mask

    def to(self, *_: Any, **__: Any) -> LongMask:
        """Itself: rows are made where they are used."""
        return self


class Edited(Protocol):
    """What edits make of one call, in the place of what is computed here; see `edited_attention`."""

    def attend(self) -> Tensor: ...
    def scores(self, queries: Tensor | None) -> Tensor: ...
    def pattern(self, queries: Tensor) -> Tensor: ...
    def statistics(self, request: Any, start: int) -> tuple[Tensor, Any]: ...


@dataclass
class Call:
    """One call of attention: q `[batch, head, query, d_head]` and k, v `[batch, kv_head, key, d_head]` as it uses them.

    `mask` is a tensor `[batch, 1, query, key]` (bool: what is seen; float: what is added), a `LongMask`, or None for
    plain causal attention.
    """

    module: nn.Module
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | LongMask | None
    scaling: float
    softcap: float | None
    window: int | None
    causal: bool
    options: dict[str, Any]
    edited: Edited | None = None
    """What edits make of this call."""

    @classmethod
    def of(
        cls,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | LongMask | None,
        scaling: float | None = None,
        softcap: float | None = None,
        sliding_window: int | None = None,
        is_causal: bool | None = None,
        **options: Any,
    ) -> Call:
        """The call that transformers makes with these arguments; raises `Unsupported` for attention sinks."""
        if options.get("s_aux") is not None:
            raise Unsupported(f"{type(module).__name__} uses attention sinks, which this attention does not compute")
        return cls(
            module,
            query,
            key,
            value,
            attention_mask,
            query.shape[-1] ** -0.5 if scaling is None else scaling,
            softcap,
            sliding_window,
            getattr(module, "is_causal", True) if is_causal is None else is_causal,
            {name: options[name] for name in ("dropout", "position_bias") if name in options},
            options.get(EDITED),
        )

    def visible(self, start: int, stop: int) -> Tensor | None:
        """The mask's rows for the queries `start..stop`, `[batch or 1, 1, query, key]`; None where all is seen."""
        if isinstance(self.mask, LongMask):
            return self.mask.rows(start, stop)
        if self.mask is not None:
            return self.mask[:, :, start:stop, : self.k.shape[2]]
        if not self.causal or self.q.shape[2] == 1:
            return None
        offset = self.k.shape[2] - self.q.shape[2]
        rows = torch.arange(start + offset, stop + offset, device=self.q.device)
        return (torch.arange(self.k.shape[2], device=self.q.device) <= rows[:, None])[None, None]


Watcher = Callable[[Call], "Tensor | None"]
"""Sees a call, may set its q and k, and may return the output `[batch, query, head, d_head]` in its place."""

_watchers: dict[nn.Module, list[Watcher]] = {}


@contextmanager
def watching(watchers: Mapping[nn.Module, Watcher]) -> Iterator[None]:
    """Hand every attention call of these modules to their watcher until the block ends, ahead of outer blocks'."""
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
    """Attention logits of the asked queries `[batch, query]` (None: all) after scale and softcap, before the mask.

    `[batch, head, query, key]`; keys are not expanded for grouped-query attention.
    """
    if call.edited is not None:
        return call.edited.scores(queries)
    q = call.q
    if queries is not None:
        q = q.gather(2, queries.to(q.device)[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3]))
    groups = q.shape[1] // call.k.shape[1]
    grouped = q.unflatten(1, (-1, groups)).flatten(2, 3)
    logits = (grouped @ call.k.transpose(-1, -2)).unflatten(2, (groups, -1)).flatten(1, 2) * call.scaling
    return logits if call.softcap is None else call.softcap * torch.tanh(logits / call.softcap)


def pattern(call: Call, queries: Tensor) -> Tensor:
    """Attention weights of the asked queries `[batch, query]`: `[batch, head, query, key]`."""
    if call.edited is not None:
        return call.edited.pattern(queries)
    queries = queries.to(call.q.device)
    return _weights(scores(call, queries), visible_to(call, queries))


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
    """Attention as the model defines it, or as it is edited: `[batch, query, head, d_head]`."""
    if call.edited is not None:
        return call.edited.attend()
    if call.softcap is None and not isinstance(call.mask, LongMask):
        mask = None if call.mask is None else call.mask[..., : call.k.shape[2]]
        return sdpa_attention_forward(
            call.module, call.q, call.k, call.v, mask, scaling=call.scaling, is_causal=call.causal, **call.options
        )[0]
    length = call.q.shape[2]
    step = max(16, _CHUNK // call.k.shape[2])
    return torch.cat([_chunk(call, start, min(start + step, length)) for start in range(0, length, step)], dim=1)


def _chunk(call: Call, start: int, stop: int) -> Tensor:
    """The output for the queries `start..stop`, computed on the keys that any of them sees."""
    mask = call.visible(start, stop)
    first, last = 0, call.k.shape[2]
    if mask is not None and mask.dtype == torch.bool:
        seen = mask.any(dim=2).any(dim=0)[0].nonzero()[:, 0]
        first, last = int(seen[0]), int(seen[-1]) + 1
    k, v = call.k[:, :, first:last], call.v[:, :, first:last]
    mask = None if mask is None else mask[..., first:last]
    part = replace(call, q=call.q[:, :, start:stop], k=k, v=v, mask=mask, causal=False)
    if call.softcap is None:
        return attend(part)
    weights = _weights(scores(part), mask)
    groups = weights.shape[1] // v.shape[1]
    mixed = weights.unflatten(1, (-1, groups)).flatten(2, 3) @ v
    return mixed.unflatten(2, (groups, -1)).flatten(1, 2).transpose(1, 2)


def _weights(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the keys that the mask lets through, in float32 as eager attention does; zero where none is seen."""
    if mask is not None and mask.dtype == torch.bool:
        logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    elif mask is not None:
        logits = logits + mask
    at_least = torch.promote_types(logits.dtype, torch.float32)
    return logits.softmax(-1, dtype=at_least).to(logits.dtype)


def _forward(module: nn.Module, *arguments: Any, **options: Any) -> tuple[Tensor, None]:
    """What transformers calls for the attention implementation `workbench`."""
    call = Call.of(module, *arguments, **options)
    output = None
    for watcher in _watchers.get(module, ()):
        result = watcher(call)
        output = result if output is None else output
    return (attend(call) if output is None else output), None


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


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, _mask)
