"""The self-check of a session: the engines against each other, and the model's attention against eager attention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ..records.record import Check
from .sites import ENDS, MAP_KINDS, RESIDUAL_KINDS, Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .hooked_model import HookedModel
    from .session import Session

SHORT = ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [2, 7, 1, 8, 2])
"""Token ids in rows of two lengths, so that padding is checked too."""
RESIDUAL, INNER, MAPS = 1e-5, 5e-5, 1e-5
"""What two engines may differ by in float32: relative to the norm of each token, absolute for attention's maps."""
ATTENTION = 1e-3
"""What eager attention may differ by from `sdpa` in float32: rounding reaches 1e-4 in a deep model, a wrong mask 1."""
COARSER = {"float16": 500.0, "bfloat16": 4000.0}
"""How many times more all of this is in a coarser type than in float32."""
_made: WeakKeyDictionary[Session, dict[tuple[str, ...], list[Check]]] = WeakKeyDictionary()


def check(session: Session, engines: Sequence[str] | None = None) -> list[Check]:
    """Compare engines with plain hooks on a few tokens (`engines` None: those in use), and its attention with eager.

    A check fails where two differ by more than the tolerance for the type of the weights; its detail has the worst
    difference of each kind.
    """
    with session.lock:
        reference = session.engine("hf")
        others = [session.engine(name) for name in engines or session.engines if name != "hf"]
        sites = some_sites(reference)
        seen = reference.capture(short_rows(reference), sites)
        checks = [_engine(reference, seen, other) for other in others]
        return [*checks, _eager(reference, seen)]


def cached_checks(session: Session) -> list[Check]:
    """The check of the engines in use, made once a session and again when another engine came into use."""
    with session.lock:
        names = session.engines
        if names not in (known := _made.setdefault(session, {})):
            known[names] = check(session, names)
        return [made.model_copy() for made in known[names]]


def short_rows(model: HookedModel) -> list[list[int]]:
    """The short prompt within the vocabulary of a model."""
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
    return base * _coarser(model)


def _coarser(model: nn.Module) -> float:
    return COARSER.get(str(next(model.parameters()).dtype).removeprefix("torch."), 1.0)


def _engine(reference: HookedModel, seen: Mapping[str, Tensor], other: HookedModel) -> Check:
    model = reference.engine.model
    sites = some_sites(other)
    worst = differences(seen, other.capture(short_rows(other), sites), sites)
    beyond = [kind for kind, value in worst.items() if not value <= tolerance(kind, model)]
    missing = [kind for kind in reference.kinds if kind not in other.kinds]
    detail = _told(worst)
    if beyond:
        detail = f"beyond the tolerance: {', '.join(beyond)}; {detail}"
    if missing:
        detail += f"; not served: {', '.join(missing)}"
    return Check(name=f"engine {other.engine.name} agrees with hf", passed=not beyond, detail=detail)


def _eager(reference: HookedModel, seen: Mapping[str, Tensor]) -> Check:
    """Residual stream, attention weights and logits, as read here and as transformers gives them eagerly."""
    import torch

    from .shared_weights import clone_sharing_weights
    from .tokens import TokenBatch

    batch, device = TokenBatch.of(short_rows(reference)), reference.engine.device
    plain = clone_sharing_weights(reference.engine.model)
    plain.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        told = plain(
            input_ids=batch.ids.to(device),
            attention_mask=batch.real.long().to(device),
            output_hidden_states=True,
            output_attentions=True,
            use_cache=False,
        )
    last = reference.shape.layers - 1  # what transformers gives for it has passed the final norm
    expected = {"final_norm": told.hidden_states[-1], "logits": told.logits}
    for site in map(Site.parse, seen):
        if site.kind == "resid_post" and site.layer != last:
            expected[str(site)] = told.hidden_states[(site.layer or 0) + 1]
        elif site.kind == "pattern" and told.attentions:
            expected[str(site)] = told.attentions[site.layer]
    real = batch.real
    for name, tensor in expected.items():
        mask = real[:, None, :, None] if Site.parse(name).kind in MAP_KINDS else real[:, :, None]
        expected[name] = tensor.to("cpu").where(mask, 0)
    worst = differences(seen, expected, map(Site.parse, expected))
    passed = all(value <= ATTENTION * _coarser(reference.engine.model) for value in worst.values())
    return Check(name="attention agrees with eager attention", passed=passed, detail=_told(worst))


def _told(worst: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())


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
