"""How much memory there is for work on a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

SHARE = 0.8
"""Share of the available memory that work may take unless told otherwise."""


def free_bytes(device: torch.device) -> int:
    """The bytes that are free on a device, or in the machine where it is no GPU."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    import torch

    # what PyTorch keeps for itself after earlier work is free to it too
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
