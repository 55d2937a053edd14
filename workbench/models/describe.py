"""What a record says of a loaded model, as it is in memory now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..records.record import AdapterInfo, ModelInfo
from .adapter_state import adapters_in, base_weights
from .fingerprint import config_fingerprint, tokenizer_fingerprint, weights_fingerprint
from .load import Loaded

if TYPE_CHECKING:
    from torch import nn


def describe(
    loaded: Loaded, bare: nn.Module, engine: str, attention: str, ends: Sequence[int], state: tuple[str, list[str]]
) -> ModelInfo:
    """The model as a record tells it; reads all weights. `bare` is the model without an adapter's wrapper.

    `state` is the hash of what decides the output beside weights and configuration, and what of it has to be named.
    Weights that are offloaded to disk have no fingerprint.
    """
    parameters = list(bare.parameters())
    fingerprint, adapter = _weights(loaded, bare)
    known = loaded.source.known if loaded.source else None
    return ModelInfo(
        id=loaded.id,
        revision=loaded.source.revision if loaded.source else None,
        fingerprint=fingerprint,
        config_sha256=config_fingerprint(bare.config.to_dict()),  # type: ignore[operator, union-attr]
        tokenizer_sha256=None if loaded.tokenizer is None else tokenizer_fingerprint(loaded.tokenizer),
        state_sha256=state[0],
        state=state[1],
        ends=sorted(ends),
        dtype=", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in parameters if p.is_floating_point()})),
        quantisation=loaded.quantisation,
        about=known.about if known else None,
        licence=known.licence.name if known else None,
        device=", ".join(sorted({str(p.device) for p in parameters})),
        device_map=loaded.device_map,
        trust_remote_code=loaded.trust_remote_code,
        engine=engine,
        attention=attention,
        adapter=adapter,
    )


def _weights(loaded: Loaded, bare: nn.Module) -> tuple[str | None, AdapterInfo | None]:
    """The fingerprint of the model's own weights, and the adapter that takes part in its forward."""
    own = base_weights(bare)
    if any(tensor.is_meta for tensor in own.values()):
        return None, None if loaded.adapter is None else loaded.adapter.info
    fingerprint, now, put_in = weights_fingerprint(own), adapters_in(bare), loaded.adapter
    if put_in is None or now is None:
        return fingerprint, now
    if now.sha256 != put_in.in_memory:
        return fingerprint, now.model_copy(update={"id": f"{put_in.info.id}, changed in memory"})
    if put_in.own is not None and fingerprint == put_in.own[1]:
        fingerprint = put_in.own[0]
    return fingerprint, put_in.info
