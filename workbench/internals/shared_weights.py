"""A second tree of modules over the same weights, for a library that rewrites the modules it wraps."""

from __future__ import annotations

import copy
from itertools import chain
from typing import TYPE_CHECKING

from .architectures import bare

if TYPE_CHECKING:
    from torch import nn


def clone_sharing_weights(model: nn.Module) -> nn.Module:
    """A copy of the model, with its own modules and configuration, whose parameters and buffers are the model's own."""
    model = bare(model)
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)
