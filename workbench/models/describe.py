"""What a record says of a loaded model."""

from __future__ import annotations

from ..records.record import ModelInfo
from .fingerprint import config_fingerprint, tokenizer_fingerprint, weights_fingerprint
from .load import Loaded
from .model_files import noted_fingerprint


def describe(loaded: Loaded, engine: str, attention: str) -> ModelInfo:
    """The model as a record tells it; reads all weights where their fingerprint was not noted when they were fetched.

    Weights that are offloaded to disk have no fingerprint.
    """
    model = loaded.model
    parameters = list(model.parameters())
    dtype = ", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in parameters if p.is_floating_point()}))
    fingerprint = noted_fingerprint(loaded.source.folder, dtype) if loaded.source else None
    if fingerprint is None and not any(p.is_meta for p in parameters):
        fingerprint = weights_fingerprint(model if loaded.weights is None else loaded.weights)
    return ModelInfo(
        id=loaded.id,
        revision=loaded.source.revision if loaded.source else None,
        fingerprint=fingerprint,
        config_sha256=config_fingerprint(model.config.to_dict()),
        tokenizer_sha256=None if loaded.tokenizer is None else tokenizer_fingerprint(loaded.tokenizer),
        dtype=dtype,
        quantisation=loaded.quantisation,
        device=", ".join(sorted({str(p.device) for p in parameters})),
        device_map=loaded.device_map,
        trust_remote_code=loaded.trust_remote_code,
        engine=engine,
        attention=attention,
        adapter=loaded.adapter,
    )
