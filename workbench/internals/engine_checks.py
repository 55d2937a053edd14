"""Two engines on a few tokens: how far apart they are, and how far apart they may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .hooked_model import HookedModel
from .sites import ENDS, MAP_KINDS, RESIDUAL_KINDS, Site
from .values import ValueBatch, example

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .tokens import TokensLike

SHORT = ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [2, 7, 1, 8, 2])
"""Token ids in rows of two lengths, so that padding is checked too."""
RESIDUAL, INNER, MAPS = 1e-5, 5e-5, 1e-5
"""What two engines may differ by in float32: relative to the norm of each token, absolute for attention's maps."""
COARSER = {"float16": 500.0, "bfloat16": 4000.0}
"""How many times more all of this is in a coarser type than in float32."""


def refuse_disagreeing(here: HookedModel, plain: HookedModel) -> None:
    """Let an engine that is not trusted serve only the kinds that agree with plain hooks on a few tokens."""
    if here.engine.trusted:
        return
    sites, rows = some_sites(here), short_rows(here)
    found = differences(plain.capture(rows, sites), here.capture(rows, sites), sites)
    here.engine.refused |= {
        kind: f"what the engine gives differs from the model by {worst:.1e}"
        for kind, worst in found.items()
        if not worst <= tolerance(kind, here.engine.model)
    }


def short_rows(model: HookedModel) -> TokensLike:
    """The short prompt within the vocabulary of a model, or numbers for one without a vocabulary."""
    if (d_in := model.shape.d_in) is not None:
        return ValueBatch.read(example(d_in, [len(row) for row in SHORT]), d_in)
    return [[token % model.shape.vocabulary for token in row] for row in SHORT]


def some_sites(model: HookedModel) -> list[Site]:
    """Every kind that is served, in the first, a middle and the last layer."""
    layers = sorted({0, model.shape.layers // 2, model.shape.layers - 1})
    return [Site(kind, layer) for kind in model.kinds for layer in ([None] if kind in ENDS else layers)]


def differences(seen: Mapping[str, Tensor], others: Mapping[str, Tensor], sites: Iterable[Site]) -> dict[str, float]:
    """The worst difference of each kind: relative to the norm of each token, absolute for scores and pattern."""
    worst: dict[str, float] = {}
    for site in sites:
        between = _visible if site.kind in MAP_KINDS else _relative
        worst[site.kind] = max(worst.get(site.kind, 0.0), between(others[str(site)], seen[str(site)]))
    return worst


def tolerance(kind: str, model: nn.Module) -> float:
    """What two engines may differ by at a kind of site, for the type of the model's weights."""
    base = MAPS if kind in MAP_KINDS else RESIDUAL if kind in (*RESIDUAL_KINDS, "logits") else INNER
    return base * coarser(model)


def coarser(model: nn.Module) -> float:
    return COARSER.get(str(next(model.parameters()).dtype).removeprefix("torch."), 1.0)


def _relative(found: Tensor, expected: Tensor) -> float:
    """The largest norm of a difference among tokens, relative to the norm of what was expected."""
    expected, found = expected.double().flatten(2), found.double().flatten(2)
    apart, norms = (found - expected).norm(dim=-1), expected.norm(dim=-1)
    if not (norms > 0).any():
        return math.inf if apart.any() else 0.0  # a site that is zero everywhere, as in a constructed model
    return float((apart / norms.clamp(min=1e-30))[norms > 0].max())


def _visible(found: Tensor, expected: Tensor) -> float:
    """The largest difference of two maps where a query may see a key."""
    causal = expected.new_ones(expected.shape[-2:]).tril().bool()
    return float((found - expected).where(causal, 0).abs().max())
