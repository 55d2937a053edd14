"""A second tree of modules over the same weights, for a library that rewrites the modules it wraps."""

from __future__ import annotations

import copy
import weakref
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..errors import WorkbenchError
from .architectures import bare
from .borrowing import Implementations, borrowed, is_borrowed
from .module_state import Snapshot, users_own

if TYPE_CHECKING:
    from torch import nn


def clone_sharing_weights(model: nn.Module, implementations: Implementations = ()) -> nn.Module:
    """A copy of the model, with its own modules and configuration, whose parameters and buffers are the model's own.

    It is in evaluation mode, and its attention stays the one given. It refuses to run once the model's modules have
    changed. Raises `WorkbenchError` for a model with code of its user's on it, which a copy might not follow.
    """
    if own := users_own(model):
        raise WorkbenchError(
            f"this engine works on a copy of the model's modules, which {', '.join(own[:3])} would not follow: take it "
            "off, or use the engine 'hf'"
        )
    source = weakref.ref(model)
    made_of = Snapshot(model)
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    with borrowed(model, implementations):
        copied = copy.deepcopy(bare(model), shared)

    def current(*_: Any) -> None:
        now = source()
        if not is_borrowed(copied) and now is not None and Snapshot(now) != made_of:
            raise WorkbenchError(
                "the model has changed since this copy of its modules was made (an adapter, a hook, a module): take "
                "it from the session again"
            )

    copied.register_forward_pre_hook(current)
    return copied
