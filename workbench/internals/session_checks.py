"""The self-check of a session: the engines against each other, and the model's attention against eager attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ..records.record import Check
from .engine_checks import coarser, differences, short_rows, some_sites, tolerance
from .hooks import known
from .module_state import users_own
from .own_attention import own_attention
from .sites import MAP_KINDS, Site

if TYPE_CHECKING:
    from torch import Tensor

    from .hooked_model import HookedModel
    from .session import Session
    from .session_identity import Moment

EAGER = "attention agrees with eager attention"
ATTENTION = 1e-3
"""What eager attention may differ by from `sdpa` in float32: rounding reaches 1e-4 in a deep model, a wrong mask 1."""
_made: WeakKeyDictionary[Session, tuple[Moment, dict[tuple[str, ...], list[Check]]]] = WeakKeyDictionary()


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
    """The check of the engines in use: made once, and again when another engine came into use or the model changed."""
    with session.lock:
        names = session.engines
        if session not in _made or _made[session][0].changed() is not None:
            _made[session] = session.moment(), {}
        known = _made[session][1]
        if names not in known:
            known[names] = check(session, names)
        return [made.model_copy() for made in known[names]]


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

    source = reference.engine.source
    if own := [*users_own(source), *filter(None, [own_attention(source)])]:
        return Check(name=EAGER, passed=False, detail=f"not compared: the model runs with {'; '.join(own)}")
    batch, device = known(reference.engine, short_rows(reference)), reference.engine.device
    plain = clone_sharing_weights(reference.engine.model)
    plain.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        told = plain(
            **reference.engine.entering(batch.ids),
            attention_mask=batch.attention_mask.long().to(device),
            output_hidden_states=True,
            output_attentions=True,
            use_cache=False,
        )
    last = reference.shape.layers - 1  # what transformers gives for it has passed the final norm
    expected = {"logits": told.logits}
    if "final_norm" in seen:
        expected["final_norm"] = told.hidden_states[-1]
    for site in map(Site.parse, seen):
        if site.kind == "resid_post" and site.layer != last:
            expected[str(site)] = told.hidden_states[(site.layer or 0) + 1]
        elif site.kind == "pattern" and told.attentions:
            expected[str(site)] = told.attentions[site.layer]
    real = batch.attention_mask
    for name, tensor in expected.items():
        mask = real[:, None, :, None] if Site.parse(name).kind in MAP_KINDS else real[:, :, None]
        expected[name] = tensor.to("cpu").where(mask, 0)
    worst = differences(seen, expected, map(Site.parse, expected))
    passed = all(value <= ATTENTION * coarser(reference.engine.model) for value in worst.values())
    return Check(name=EAGER, passed=passed, detail=_told(worst))


def _told(worst: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
