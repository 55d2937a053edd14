"""The self-check of a session: the engines against each other, and the model's attention against eager attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .record import Check
from .sites import ENDS, MAP_KINDS, RESIDUAL_KINDS, Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .hooked import Captured, HookedModel
    from .session import Session

SHORT = ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], [2, 7, 1, 8, 2, 8, 1])
"""Token ids that every vocabulary has, in rows of two lengths, so that padding is checked too."""
RESIDUAL, INNER, MAPS = 1e-5, 5e-5, 1e-5
"""What two engines may differ by in float32: relative to the norm of each token, absolute for attention's maps."""
COARSER = {"float16": 500.0, "bfloat16": 4000.0}
"""How many times more that is in a coarser type than in float32."""
ATTENTION = 1e-4
"""What eager attention may differ by from `sdpa`, relative to the norm of each token, in float32."""


def check(session: Session, engines: Sequence[str] | None = None) -> list[Check]:
    """Compare engines on a few tokens with plain hooks (`engines` None: those in use), and its attention with eager.

    A check fails where two differ by more than the tolerance of the weights' type; the detail has the worst of each.
    """
    with session.lock:
        names = session.engines if engines is None else engines
        reference = session.engine("hf")
        found = [_engine(reference, session.engine(name)) for name in names if name != "hf"]
        return [*found, _eager(reference)]


def differences(reference: HookedModel, other: HookedModel, tokens: Sequence[Sequence[int]]) -> dict[str, float]:
    """The worst difference of each kind that both serve, over the first, a middle and the last layer.

    Relative to the norm of each token; for scores and pattern absolute, on the entries that the query may see.
    """
    layers = sorted({0, reference.shape.layers // 2, reference.shape.layers - 1})
    kinds = [kind for kind in reference.kinds if kind in other.kinds]
    sites = [Site(kind, layer) for kind in kinds if kind not in ENDS for layer in layers]
    sites += [Site(kind) for kind in kinds if kind in ENDS]
    first, second = (model.capture(tokens, sites) for model in (reference, other))
    worst: dict[str, float] = {}
    for site in sites:
        found = _absolute(first, second, site) if site.kind in MAP_KINDS else _relative(second[site], first[site])
        worst[site.kind] = max(worst.get(site.kind, 0.0), found)
    return worst


def tolerance(kind: str, model: nn.Module) -> float:
    """What two engines may differ by at a kind of site, for the type of the model's weights."""
    base = MAPS if kind in MAP_KINDS else RESIDUAL if kind in (*RESIDUAL_KINDS, "logits") else INNER
    return base * _coarser(model)


def _coarser(model: nn.Module) -> float:
    return COARSER.get(str(next(model.parameters()).dtype).removeprefix("torch."), 1.0)


def _engine(reference: HookedModel, other: HookedModel) -> Check:
    name, model = other.engine.name, reference.engine.model
    worst = differences(reference, other, SHORT)
    failed = [kind for kind, value in worst.items() if not value <= tolerance(kind, model)]
    unserved = [kind for kind in reference.kinds if kind not in other.kinds]
    detail = ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
    if failed:
        detail = f"beyond the tolerance: {', '.join(failed)}; {detail}"
    if unserved:
        detail += f"; not served: {', '.join(unserved)}"
    return Check(name=f"engine {name} agrees with hf", passed=not failed, detail=detail)


def _eager(reference: HookedModel) -> Check:
    """Residual stream, attention weights and logits, as read here and as transformers gives them eagerly."""
    import torch

    from .engines.twin import twin
    from .tokens import Tokens

    model = reference.engine.model
    allowed = ATTENTION * _coarser(model)
    name = "attention agrees with eager attention"
    batch, layers = Tokens.of(SHORT), range(reference.shape.layers)
    plain = twin(model)
    plain.set_attn_implementation("eager")  # type: ignore[operator]
    device = reference.engine.device
    with torch.no_grad():
        told = plain(
            input_ids=batch.ids.to(device),
            attention_mask=batch.real.long().to(device),
            output_hidden_states=True,
            output_attentions=True,
            use_cache=False,
        )
    expected = {f"resid_post.{layer}": told.hidden_states[layer + 1] for layer in layers[:-1]}
    expected |= {"final_norm": told.hidden_states[-1], "logits": told.logits}
    expected |= {f"pattern.{layer}": weights for layer, weights in enumerate(told.attentions or ())}
    expected = {site: tensor for site, tensor in expected.items() if Site.parse(site).kind in reference.kinds}
    seen = reference.capture(batch, list(expected))
    worst: dict[str, float] = {}
    for site, tensor in expected.items():
        kind = Site.parse(site).kind
        now = seen[site]
        real = batch.real[(...,) + (None,) * (now.ndim - 2)]
        if kind in MAP_KINDS:
            found = float((now - tensor.to(now)).where(batch.real[:, None, :, None], 0).abs().max())
        else:
            found = _relative(tensor.to(now).where(real, 0), now)
        worst[kind] = max(worst.get(kind, 0.0), found)
    detail = ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
    return Check(name=name, passed=all(value <= allowed for value in worst.values()), detail=detail)


def _relative(found: Tensor, expected: Tensor) -> float:
    """The largest norm of a difference among tokens, relative to the norm of what was expected; 0 at padding."""
    expected, found = expected.double().flatten(2), found.double().flatten(2)
    norms = expected.norm(dim=-1)
    relative = (found - expected).norm(dim=-1) / norms.clamp(min=1e-30)
    return float(relative[norms > 0].max())


def _absolute(first: Captured, second: Captured, site: Site) -> float:
    """The largest difference of two maps where a query may see a key."""
    one, other = first[site].double(), second[site].double()
    causal = one.new_ones(one.shape[-2:]).tril().bool()
    return float((one - other).where(causal, 0).abs().max())
