"""Two engines on a few tokens: how far apart they are, and how far apart they may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..errors import UsageError, WorkbenchError
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
    """Let an engine that is not trusted serve only the kinds that agree with plain hooks on a few tokens.

    Raises `WorkbenchError` where its logits do not agree.
    """
    if here.engine.trusted:
        return
    rows, name = short_rows(here), type(plain.engine.model).__name__
    try:
        logits = here.logits(rows)
    except UsageError:
        raise
    except Exception as error:  # libraries fail in many ways on what they were not made for
        raise WorkbenchError(
            f"the engine {here.engine.name!r} does not run {name} ({type(error).__name__}: "
            f"{' '.join(str(error).split())}); "
            "use the engine 'hf'"
        ) from error
    apart = differences({"logits": plain.logits(rows)}, {"logits": logits}, [Site("logits")])["logits"]
    if not apart <= tolerance("logits", plain.engine.model):
        raise WorkbenchError(
            f"the engine {here.engine.name!r} computes other logits than {name} itself, by {apart:.1e} of their "
            f"size; use "
            "the engine 'hf'"
        )
    sites = some_sites(here)
    expected = plain.capture(rows, sites)
    for kind in here.kinds:
        own = [site for site in sites if site.kind == kind]
        try:
            found = differences(expected, here.capture(rows, own), own)[kind]
        except Exception as error:
            here.engine.refused[kind] = f"the engine does not give it ({type(error).__name__}: {error})"
            continue
        if not found <= tolerance(kind, here.engine.model):
            here.engine.refused[kind] = f"what the engine gives differs from the model by {found:.1e}"


def short_rows(model: HookedModel) -> TokensLike:
    """The short prompt within the vocabulary of a model, or numbers for one without a vocabulary."""
    if (d_in := model.shape.d_in) is not None:
        return ValueBatch.read(example(d_in, [len(row) for row in SHORT]), d_in)
    return [[token % model.shape.vocabulary for token in row] for row in SHORT]


def some_sites(model: HookedModel) -> list[Site]:
    """Every kind that is served, in the first, a middle and the last layer that has it."""
    found = []
    for kind in model.kinds:
        having = model.architecture.layers_with(kind)
        chosen = [None] if kind in ENDS else sorted({having[0], having[len(having) // 2], having[-1]})
        found += [Site(kind, layer) for layer in chosen]
    return found


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
    if found.shape != expected.shape:
        return math.inf
    expected, found = expected.double().flatten(2), found.double().flatten(2)
    apart, norms = (found - expected).norm(dim=-1), expected.norm(dim=-1)
    if not (norms > 0).any():
        return math.inf if apart.any() else 0.0  # a site that is zero everywhere, as in a constructed model
    return float((apart / norms.clamp(min=1e-30))[norms > 0].max())


def _visible(found: Tensor, expected: Tensor) -> float:
    """The largest difference of two maps where a query may see a key."""
    if found.shape != expected.shape:
        return math.inf
    causal = expected.new_ones(expected.shape[-2:]).tril().bool()
    return float((found - expected).where(causal, 0).abs().max())
