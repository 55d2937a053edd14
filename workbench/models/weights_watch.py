"""Whether a model's weights are still those of a moment ago, without reading all of them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLE = 64
"""Entries of each tensor that are compared, at equal distances, and its last one."""


class WeightsWatch:
    """The tensors of a model at one moment: which they are, torch's count of writes to each, and some of their values.

    A few milliseconds for a model of some hundred tensors. Torch does not count a write through `.data` or through
    memory shared with numpy: the sample shows it where it reached a sampled entry, as training, scaling or loading
    does, and a write to a few single entries may escape. What has to be certain reads every weight instead.
    """

    def __init__(self, model: nn.Module) -> None:
        self._held = [*model.parameters(), *model.buffers()]
        self._key = tuple(map(_seen, self._held))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WeightsWatch) and self._key == other._key

    __hash__ = None  # type: ignore[assignment]

    def written(self) -> bool:
        """Whether one of these tensors was written to since, whatever became of the model they were in."""
        return self._key != tuple(map(_seen, self._held))


def _seen(tensor: Tensor) -> tuple[Any, ...]:
    import torch

    told = (id(tensor), tensor.data_ptr(), tuple(tensor.shape), tensor.dtype)
    if tensor.is_meta or not tensor.numel():
        return told
    flat = tensor.detach().reshape(-1)
    chosen = torch.cat([flat[:: max(1, len(flat) // SAMPLE)], flat[-1:]]).cpu()
    version = None if tensor.is_inference() else tensor._version
    return (*told, version, zlib.crc32(chosen.view(torch.uint8).numpy().data))
