"""The lens: what the residual stream of any place says as logits, by the model's own way from stream to logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..errors import SiteError, UsageError
from ..formatting import byte_size
from ..html_table import bundle
from ..progress import Reporter
from .activation_cache import ActivationCache
from .affine_maps import AffineMaps
from .edits import EditLike
from .hooks import known, refuse_without_vocabulary
from .sites import RESIDUAL_KINDS, Site, SiteLike
from .tokens import TokensLike
from .unembedding import Unembedding

if TYPE_CHECKING:
    from .hooked_model import HookedModel

Through = Literal["norm", "raw"] | AffineMaps
"""How a residual stream comes to the unembedding: through the final norm, as it is, or mapped and then normed."""
Reduce = Callable[[Tensor], Tensor]

BLOCK = 1 << 24
"""Logits that are held at once, beside the result."""
MOST = 2 << 30
"""Bytes that the result may take."""


class LensLogits(ActivationCache):
    """Logits of sites, by the names they were asked for: `[batch, position, vocabulary]`, zero at padding.

    ids: the vocabulary entries along the last axis where only some were asked for, otherwise None.
    """

    ids: tuple[int, ...] | None = None

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        rows = [(name, " × ".join(map(str, tensor.shape))) for name, tensor in self.items()]
        return bundle(f"Lens, batch × position × {'vocabulary' if self.ids is None else 'id'}", facts=rows)


def lens(
    hooked: HookedModel,
    tokens: TokensLike,
    sites: SiteLike | Sequence[SiteLike],
    ids: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    through: Through = "norm",
    edits: EditLike = (),
    device: str = "cpu",
    *,
    log_probs: bool = False,
    reduce: Reduce | None = None,
    progress: Reporter | None = None,
) -> LensLogits:
    """The unembedding of sites of the residual stream: `[batch, position, vocabulary]` each, in one run of the model.

    `through` "norm" applies the final norm first (to `final_norm` itself it is not applied again), "raw" does not, and
    `AffineMaps` map the stream before the norm. The model's own scale and softcap of logits are applied always, so the
    last `resid_post` through the norm gives the model's logits. `ids` gives the logits of these vocabulary entries
    only, `[batch, position, id]`, without computing the others; `log_probs` gives log-probabilities over the whole
    vocabulary (nats). `reduce` is handed `[token, vocabulary]`, a few tokens at a time, and what it returns,
    `[token, …]`, takes their place.

    nostalgebraist 2020 (the logit lens); Belrose et al. 2023, arXiv 2303.08112 (with maps). Raises `SiteError` for a
    site outside the residual stream, and `UsageError` for a result above 2 GiB and for a model whose logits are not
    explained by its final norm and unembedding.
    """
    wanted = list(dict.fromkeys(Site.parse(name) for name in ([sites] if isinstance(sites, (str, Site)) else sites)))
    for site in wanted:
        if site.kind not in RESIDUAL_KINDS:
            raise SiteError(f"'{site}' is not in the residual stream; a lens reads: {', '.join(RESIDUAL_KINDS)}")
        if isinstance(through, AffineMaps):
            through.check(site, hooked.shape.d_model)
    if not wanted:
        raise UsageError("a lens needs at least one site of the residual stream, such as 'resid_post.5'")
    if not isinstance(through, AffineMaps) and through not in ("norm", "raw"):
        raise UsageError(f"through is 'norm', 'raw' or AffineMaps, not {through!r}")
    batch = known(hooked.engine, tokens)
    if log_probs:
        refuse_without_vocabulary(hooked.engine, "log-probabilities")
    unembedding = Unembedding.of(hooked.engine)
    chosen = None if ids is None else unembedding.check(ids)
    count = batch.width if positions is None else len(positions)
    entries = unembedding.size if chosen is None else len(chosen)
    if reduce is None:
        _refuse_too_large(hooked, len(wanted), batch.batch * count, entries)
    seen = hooked.capture(batch, sites, positions, False, edits, str(unembedding.device), progress)
    real = batch.attention_mask if positions is None else torch.ones(batch.batch, count, dtype=torch.bool)

    def logits(site: Site, rows: Tensor) -> Tensor:
        mapped = through(site, rows) if isinstance(through, AffineMaps) else rows
        norm = through != "raw" and site.kind != "final_norm"
        if log_probs:  # the sum over the whole vocabulary needs every logit
            whole = unembedding.logits(mapped, norm=norm)
            whole = whole.log_softmax(-1, torch.promote_types(whole.dtype, torch.float32))
            found = whole if chosen is None else whole[..., chosen]
        else:
            found = unembedding.logits(mapped, chosen, norm=norm)
        return found if reduce is None else reduce(found)

    step = max(1, BLOCK // (unembedding.size if log_probs else entries))
    starts = range(0, int(real.sum()), step)
    report = (progress or Reporter()).steps([(site, start) for site in wanted for start in starts], "lens")
    parts: dict[Site, list[Tensor]] = {site: [] for site in wanted}
    with torch.no_grad():
        for site, start in report:
            if start == 0:
                rows = seen[site][real.to(unembedding.device)]
            block = rows[start : start + step]
            part = logits(site, block).to(device)
            if part.shape[:1] != block.shape[:1]:
                raise UsageError(f"reduce returns one row a token: {len(block)} here, and not {list(part.shape)}")
            parts[site].append(part)
    placed = {site: _placed(torch.cat(parts.pop(site)), real.to(device)) for site in wanted}
    result = LensLogits(placed, list(seen), batch.lengths, positions)
    result.ids = None if ids is None else tuple(ids)
    return result


def _placed(flat: Tensor, real: Tensor) -> Tensor:
    """Rows of real tokens at their places `[batch, position, …]`, zero at padding."""
    if real.all():
        return flat.reshape(*real.shape, *flat.shape[1:])
    placed = flat.new_zeros(*real.shape, *flat.shape[1:])
    placed[real] = flat
    return placed


def _refuse_too_large(hooked: HookedModel, sites: int, tokens: int, entries: int) -> None:
    width = next(hooked.engine.model.parameters()).element_size()
    if (needed := math.prod((sites, tokens, entries, width))) > MOST:
        raise UsageError(
            f"sites × tokens × logits, {sites} × {tokens} × {entries}, take {byte_size(needed)}, more than "
            f"{byte_size(MOST)}: give the positions you want, ids of the vocabulary, or a `reduce` that keeps less"
        )
