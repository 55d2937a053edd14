"""Lower layers by the index of their hidden state: 0 for the embeddings, j for what block j − 1 leaves."""

from __future__ import annotations

from typing import Literal

from workbench.errors import UsageError
from workbench.internals.sites import Site

Bucket = Literal["low", "high", "all"]


def site_of(index: int) -> Site:
    """Where a hidden state lies; the last one, after the final norm, is not a lower layer."""
    return Site("embed") if index == 0 else Site("resid_post", index - 1)


def buckets(layers: int) -> int:
    """How many buckets a model of so many blocks has: two up to 40 blocks, three up to 60, four beyond."""
    return 2 if layers <= 40 else 3 if layers <= 60 else 4


def candidates(bucket: Bucket, layers: int, tied: bool) -> tuple[int, ...]:
    """The even hidden states of the lowest or the highest bucket, or of all; below the last one.

    With tied embeddings the first is left out: unembedded, it only gives back the token that went in. Chuang et al.
    2024 (arXiv 2309.03883).
    """
    count = buckets(layers)
    low = 0 if bucket in ("low", "all") else layers * (count - 1) // count
    high = layers // count if bucket == "low" else layers
    return tuple(j for j in range(low + low % 2, high, 2) if j > 0 or not tied)


def checked(indices: tuple[int, ...], layers: int) -> tuple[int, ...]:
    """Hidden states that a person named; raises `UsageError` for one that is no lower layer of the model."""
    beyond = [index for index in indices if not 0 <= index < layers]
    if beyond or not indices:
        told = f"not {beyond[0]}" if beyond else "and at least one is needed"
        raise UsageError(f"lower layers are hidden states 0 to {layers - 1} (0 for the embeddings), {told}")
    return indices
