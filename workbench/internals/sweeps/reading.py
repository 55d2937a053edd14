"""One run without edits: what it has at sites, and its logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..engines.base import Engine, Hook, Inputs
from ..sites import Site
from ..tokens import TokenBatch


def read(
    engine: Engine, tokens: TokenBatch, sites: Sequence[Site], columns: Tensor
) -> tuple[dict[Site, Tensor], Tensor]:
    """The whole sites `[1, position, …]` of a run of one row, and its logits `[1, column, vocabulary]`."""
    kept: dict[Site, Tensor] = {}

    def keep(site: Site) -> Hook:
        def see(whole: Tensor) -> None:
            kept[site] = whole.detach().clone()

        return Hook(site, see)

    with torch.no_grad():
        logits = engine.run(Inputs(tokens.ids), [keep(site) for site in sites], logits=columns)
    assert logits is not None
    return kept, logits


def site_bytes(engine: Engine, sites: Sequence[Site], width: int) -> int:
    """Bytes that these whole sites take over a row of `width` tokens."""
    shape, size = engine.architecture.shape, next(engine.model.parameters()).element_size()
    config = getattr(engine.model, "config", None)
    inner = getattr(config, "intermediate_size", None) or 4 * shape.d_model
    numbers = {"d_model": shape.d_model, "d_mlp": inner, "head": shape.heads, "kv_head": shape.kv_heads}
    numbers["d_head"] = max(shape.d_head, shape.d_value)
    total = 0
    for site in sites:
        entries = 1
        for axis in site.axes[2:]:
            entries *= numbers[axis]
        total += entries
    return size * width * total
