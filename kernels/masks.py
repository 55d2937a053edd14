"""Which keys a query sees, and which of them count as sinks or as recent."""

import torch
from torch import Tensor


def positions(start: int, length: int, device: torch.device) -> Tensor:
    """Absolute positions `[length]` of consecutive rows or keys."""
    return torch.arange(start, start + length, device=device)


def visible(query: Tensor, key: Tensor, causal: bool, window: int | None, lag: int = 0) -> Tensor:
    """Whether a query at one position may see a key at another (positions broadcast; padding is not known here)."""
    gap = query - key
    seen = gap >= lag if causal else torch.ones_like(gap, dtype=torch.bool)
    return seen if window is None else seen & (gap.abs() < window)


def first_real_key(key_mask: Tensor | None, batch: int, key_start: int, device: torch.device) -> Tensor:
    """Position `[batch]` from which sinks count.

    It is the first real key where that can be seen: the sequence's first key is given, or the first given key is
    padding. Otherwise the sequence began before the given keys, and position 0 stands for its beginning.
    """
    if key_mask is None:
        return torch.zeros(batch, dtype=torch.int64, device=device)
    first = key_mask.to(torch.int8).argmax(dim=1) + key_start
    return torch.where(key_mask[:, 0] & (key_start > 0), torch.zeros_like(first), first)
