"""Fingerprints that two machines agree on: of weights, of a configuration, of a tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import WorkbenchError

if TYPE_CHECKING:
    import torch

VOLATILE = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "dtype", "torch_dtype", "_commit_hash"}
    | {"_attn_implementation", "attn_implementation", "_attn_implementation_internal", "_experts_implementation"}
)
"""Keys of a configuration that say where, how or by what it was loaded, not what the model is."""


def weights_fingerprint(weights: torch.nn.Module | Mapping[str, torch.Tensor]) -> str:
    """sha256 over name, dtype, shape and little-endian bytes of every weight, in the order of the names.

    Weights are taken as loaded, so another dtype has another fingerprint; how they were stored does not matter. Tied
    weights count once, under the first of their names.

    Raises `WorkbenchError` if a weight is not in memory.
    """
    import torch

    state = weights.state_dict(keep_vars=True) if isinstance(weights, torch.nn.Module) else weights
    digest, seen = hashlib.sha256(), set()
    for name in sorted(state):
        value = state[name].detach()
        if value.is_meta:
            raise WorkbenchError(f"weight {name} is offloaded to disk, so the model has no fingerprint; load it whole")
        place = (value.data_ptr(), value.shape, value.stride(), value.device)
        if value.numel() and place in seen:
            continue
        seen.add(place)
        dtype = str(value.dtype).removeprefix("torch.")
        digest.update(f"{name}\0{dtype}\0{','.join(map(str, value.shape))}\0".encode())
        digest.update(_little_endian(value))
    return digest.hexdigest()


def _little_endian(value: torch.Tensor) -> Any:
    import torch

    value = value.cpu().contiguous().reshape(-1)
    if value.is_complex():
        value = torch.view_as_real(value).reshape(-1)
    width = value.element_size()
    whole = value.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[width]).numpy()
    return whole.astype(f"<i{width}" if width > 1 else "u1", copy=False)


def config_fingerprint(config: Mapping[str, Any]) -> str:
    """sha256 of a configuration as canonical JSON, without keys that are empty or say only how it was loaded.

    The same holds for a configuration inside of it.
    """
    return _canonical(_lasting(config))


def _lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _lasting(value) if isinstance(value, dict) and "model_type" in value else value
        for key, value in config.items()
        if key not in VOLATILE and value is not None
    }


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 of what decides how a tokenizer works: vocabulary, merges, splitting, special tokens, chat template."""
    parts: dict[str, Any] = {
        "vocabulary": tokenizer.get_vocab(),
        "special": {key: str(value) for key, value in sorted(tokenizer.special_tokens_map.items())},
        "chat_template": getattr(tokenizer, "chat_template", None),
    }
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        whole = json.loads(backend.to_str())
        parts["merges"] = whole["model"].get("merges")
        parts["added"] = whole["added_tokens"]
        parts |= {key: whole[key] for key in ("normalizer", "pre_tokenizer", "post_processor")}
    return _canonical(parts)


def files_fingerprint(hashes: Iterable[tuple[str, str]]) -> str:
    """sha256 over the names and hashes of several files."""
    return _canonical(sorted(hashes))


def _canonical(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
