"""How a layer mixes tokens: from the mask of its attention, or from its modules where it has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .architectures import LayerKind
    from .attention import Call

_TOLD: dict[str, tuple[LayerKind, str]] = {
    "linear_attention": ("linear", "linear attention"),
    "conv": ("convolution", "a short convolution"),
    "mamba": ("state space", "a state space model"),
    "recurrent": ("linear", "a linear recurrence"),
    "mlp": ("none", "an MLP alone"),
    "moe": ("none", "experts alone"),
}
"""What configurations call a layer without softmax attention."""


def masked_kind(call: Call, lowered: dict[str, int]) -> tuple[LayerKind, int | None]:
    """The kind of a layer by which keys its queries see, and how many that are at most (None: all)."""
    mask = call.visible(0, call.q.shape[2])
    if mask is None:
        return ("full", None) if call.causal else ("other", None)
    return seen_kind(mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2, lowered)


def seen_kind(seen: Tensor, lowered: dict[str, int]) -> tuple[LayerKind, int | None]:
    """The same from which keys are seen, bool `[batch or 1, head or 1, query, key]`."""
    seen = seen.cpu()
    count = seen.shape[2]
    gap = torch.arange(count)[:, None] - torch.arange(count)
    causal = gap >= 0
    if not bool((seen == seen[:1, :1]).all()):
        return "indexed", None
    seen = seen[0, 0]
    if torch.equal(seen, causal):
        return "full", None
    window = int(seen[-1].sum())
    if torch.equal(seen, causal & (gap < window)):
        return "window", _own(window, lowered)
    start = torch.arange(count)
    for size in range(1, count):
        if torch.equal(seen, causal & (start[:, None] // size == start // size)):
            return "chunk", _own(size, lowered)
    return ("indexed", None) if bool((seen & ~causal).sum() == 0) else ("other", None)


def _own(found: int, lowered: dict[str, int]) -> int:
    """The bound itself where it was lowered for the check."""
    return max(lowered.values()) if lowered else found


def mixer(model: nn.Module, block: nn.Module, index: int) -> tuple[LayerKind, str]:
    """What stands in the place of softmax attention in a block: told by the configuration, or by its weights."""
    config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    names = {name.rsplit(".", 1)[-1] for name, _ in block.named_parameters()}
    for name in ("layer_types", "layers_block_type", "block_types"):
        types = getattr(config, name, None)
        if isinstance(types, (list, tuple)) and len(types) and types[index % len(types)] in _TOLD:
            told = _TOLD[types[index % len(types)]]
            return _TOLD["mamba"] if told[0] == "linear" and {"A_log", "D"} <= names else told
    if {"A_log", "D"} <= names:
        return "state space", "a state space model"
    if any(type(module).__name__.startswith("Conv1d") for module in block.modules()):
        return "convolution", "a short convolution"
    return "none", "something else than attention"


def length_dependent(config: Any) -> int | None:
    """The length beyond which the frequencies of rotation depend on the text's length, None where they never do."""
    rope = getattr(config, "rope_parameters", None) or {}
    forms = [rope] if "rope_type" in rope else [form for form in rope.values() if isinstance(form, dict)]
    lengths = []
    for form in forms:
        if form.get("rope_type") in ("dynamic", "longrope"):
            length = form.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            lengths.append(int(length or config.max_position_embeddings))
    return min(lengths) if lengths else None
