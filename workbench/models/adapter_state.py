"""A model's own weights and its adapters, as they are in memory now: put in from a folder, or by the user."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..records.record import AdapterInfo
from .fingerprint import weights_fingerprint

if TYPE_CHECKING:
    from torch import Tensor, nn

REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
"""Beginnings of the initialisations that take what the adapter holds out of the model's own weights."""


def adapted(model: nn.Module) -> dict[str, Any]:
    """The modules that an adapter has put in the place of the model's own, by path."""
    if "peft" not in sys.modules:
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    return {path: module for path, module in model.named_modules() if isinstance(module, kinds)}


def base_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's own weights under their own names, whatever adapters wrap them."""
    return _parted(model)[0]


def adapters_in(model: nn.Module) -> AdapterInfo | None:
    """The adapters that take part in a model's forward now, None where there are none or all are off.

    The hash is over their tensors, their scales and which of them is merged into the weights.
    """
    layers = adapted(model)
    active, merged = _names(layers, "active"), _names(layers, "merged")
    if not active and not merged:
        return None
    digest = hashlib.sha256(json.dumps([sorted(active), sorted(merged)]).encode())
    digest.update(weights_fingerprint(_parted(model)[1]).encode())
    for path, layer in layers.items():
        told = [layer.disable_adapters, list(layer.active_adapters), list(layer.merged_adapters)]
        digest.update(json.dumps([path, told, getattr(layer, "scaling", None)], default=str).encode())
    name = "+".join(sorted(active | merged))
    return AdapterInfo(id=f"in-memory/{name}", sha256=digest.hexdigest(), merged=sorted(merged))


def check_adapters(configs: Mapping[str, Any]) -> None:
    """Raise `UsageError` for adapters that do not work through the weights of a model alone."""
    for name, config in configs.items():
        if getattr(config, "is_prompt_learning", False):
            raise UsageError(
                f"the adapter {name!r} is a learned prompt ({config.peft_type}), not an adapter of the weights: its "
                "tokens would stand before every text and shift its positions"
            )
        if getattr(config, "alora_invocation_tokens", None):
            raise UsageError(
                f"the adapter {name!r} is an activated LoRA: it acts only behind its invocation tokens, which peft "
                "looks for in whole prompts and the runs here cannot tell it; train it as a plain LoRA, or leave it out"
            )


def rewrites(config: Any) -> bool:
    """Whether an adapter's initialisation takes what it holds out of the model's own weights."""
    told = getattr(config, "init_lora_weights", None)
    return isinstance(told, str) and told.lower().startswith(REWRITING)


def _names(layers: Mapping[str, Any], how: str) -> set[str]:
    found: set[str] = set()
    for layer in layers.values():
        if how == "merged":
            found |= set(layer.merged_adapters)
        elif not layer.disable_adapters:
            held = _held(layer)
            found |= {name for name in layer.active_adapters if name in held}
    return found


def _held(layer: Any) -> set[str]:
    """The names of the adapters that a layer has tensors of."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(layer, BaseTunerLayer):
        return {name for part in layer.adapter_layer_names if hasattr(layer, part) for name in getattr(layer, part)}
    return set(layer._get_available_adapters())


def _parted(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A model's state in two: its own weights under their own names, and the adapters' tensors."""
    own, others = {}, {}
    layers = set(adapted(model))
    for key, tensor in model.state_dict(keep_vars=True).items():
        name = _own_name(key, layers) if layers else key
        if name is None:
            others[key] = tensor
        else:
            own[name] = tensor
    return own, others


def _own_name(key: str, layers: set[str]) -> str | None:
    """The name of a weight as if nothing wrapped it; None for what belongs to an adapter."""
    kept: list[str] = []
    path = ""
    inside = False
    for part in key.split("."):
        if inside:
            if part not in ("base_layer", "original_module", "token_adapter"):
                return None
        else:
            kept.append(part)
        path = f"{path}.{part}" if path else part
        inside = path in layers
    return ".".join(kept)
