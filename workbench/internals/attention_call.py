"""One call of attention, as transformers makes it: its tensors, its mask, and a closed list of what else it may say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.masking_utils import sdpa_mask

from ..errors import WorkbenchError

SINKS = ("s_aux", "sinks")
"""The options in which a model hands over learned sinks."""
CHOICES = ("indices", "block_indices")
"""The options that name the keys, or blocks of keys, that each query sees."""
EDITED = "edited"
"""The option that hands the edits of a call on, where an engine gives its arguments to attention anew."""
HARMLESS = frozenset(
    {
        "dropout", "position_ids", "position_embeddings", "output_attentions", "output_hidden_states", "use_cache",
        "output_router_logits", "cache_position", "return_dict", "logits_to_keep", "past_key_values", "deterministic",
    }
)  # fmt: skip
"""Options that do not change what attention computes outside of training; any other that is given is refused."""


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

    def __getitem__(self, index: Any) -> Tensor:
        raise Unsupported(
            f"this model chooses its keys from the whole mask, which is not made for {self.shape[2]} × {self.shape[3]} "
            "tokens; give it a shorter text"
        )


class Edited(Protocol):
    """What edits make of one call, in the place of what is computed here; see `edited_attention`."""

    def attend(self) -> Tensor: ...
    def scores(self, queries: Tensor | None) -> Tensor: ...
    def pattern(self, queries: Tensor) -> Tensor: ...
    def log_normaliser(self, queries: Tensor) -> Tensor: ...
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
    sinks: Tensor | None = None
    """A learned score without a key that joins the softmax, `[head]`, or `[batch, head, query, 1]`."""
    bias: Tensor | None = None
    """What is added to the scores, broadcast to `[batch, head, query, key]` (ALiBi, relative positions)."""
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
        """The call that transformers makes with these arguments; raises `Unsupported` for an option not known here."""
        chosen = {name: options.pop(name) for name in CHOICES if options.get(name) is not None}
        sinks = next((options.pop(name) for name in SINKS if options.get(name) is not None), None)
        bias, edited = options.pop("position_bias", None), options.pop(EDITED, None)
        unknown = sorted(name for name, value in options.items() if value is not None and name not in HARMLESS)
        if unknown:
            raise Unsupported(
                f"{type(module).__name__} gives its attention {', '.join(unknown)}, which this attention does not know"
            )
        mask = attention_mask
        if chosen:
            mask = chosen_keys(module, query, key, mask, options.get("position_ids"), **chosen)
        return cls(
            module,
            query,
            key,
            value,
            mask,
            query.shape[-1] ** -0.5 if scaling is None else scaling,
            softcap,
            sliding_window,
            getattr(module, "is_causal", True) if is_causal is None else is_causal,
            {"dropout": options["dropout"]} if "dropout" in options else {},
            sinks,
            bias,
            edited,
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


def chosen_keys(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | LongMask | None,
    position_ids: Tensor | None,
    indices: Tensor | None = None,
    block_indices: Tensor | None = None,
) -> Tensor:
    """The mask less the keys that an indexer did not choose, as transformers makes it for `sdpa`.

    `indices` are keys `[batch, query, choice]`; blocks of keys are spread by the model's own indexer.
    """
    if isinstance(mask, LongMask):
        mask = mask[:]
    if indices is not None:
        shape = (query.shape[0], query.shape[2], key.shape[2])
        kept = torch.zeros(shape, dtype=torch.bool, device=query.device).scatter(-1, indices.long(), True)[:, None]
        if mask is None:
            seen = Call(module, query, key, key, None, 1.0, None, None, True, {}).visible(0, query.shape[2])
            return kept if seen is None else kept & seen
        return mask & kept if mask.dtype == torch.bool else mask.masked_fill(~kept, torch.finfo(query.dtype).min)
    build = getattr(getattr(module, "indexer", None), "build_block_mask", None)
    if build is None:
        raise Unsupported(f"{type(module).__name__} names blocks of keys and has no indexer that spreads them")
    if position_ids is None:
        position_ids = torch.arange(key.shape[2] - query.shape[2], key.shape[2], device=query.device)
    position_ids = (position_ids if position_ids.ndim > 1 else position_ids[None]).expand(len(query), -1)
    return build(block_indices, mask, key.shape[2], query.dtype, query.device, position_ids)
