"""What passes at a place in the model, shown to a hook, and the hook's replacement put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .. import attention
from ..architectures import put, view

if TYPE_CHECKING:
    from torch import Tensor

    from ..architectures import ModuleSite
    from .base import Hook


def with_first(output: Any, new: Tensor) -> Any:
    """A module's output with another tensor in the place of its first, or only, one."""
    if isinstance(output, tuple):
        return (new, *output[1:])
    return [new, *output[1:]] if isinstance(output, list) else new


def replaced(passing: Tensor, hook: Hook, place: ModuleSite) -> Tensor | None:
    """What passes at the module with the hook's replacement written into it; None if nothing else is to pass."""
    new = hook.see(view(passing, place))
    if new is None:
        return None
    if place.side == "stream":
        passing.copy_(new)  # the skip connection holds the same tensor, and must see the replacement too
        return None
    if place.columns is None:
        return new
    written = passing.clone()
    put(written, place, new)
    return written


def at_attention(call: attention.Call, hook: Hook, cached: bool = False) -> None:
    """Show a call of attention to a hook at one of the kinds that are found there.

    With `cached`, edited keys and values are written where the cache holds them, so that later tokens see them too.
    """
    if hook.change is not None:
        hook.change(call)
        return
    length = call.q.shape[2]
    match hook.site.kind:
        case "q_rot":
            new = hook.see(call.q.transpose(1, 2))
            call.q = call.q if new is None else new.transpose(1, 2)
        case "k_rot":
            fresh = call.k[:, :, call.k.shape[2] - length :]
            new = hook.see(fresh.transpose(1, 2))
            if new is None:
                return
            if cached and not torch.is_grad_enabled():
                fresh.copy_(new.transpose(1, 2))
            else:
                call.k = torch.cat([call.k[:, :, : call.k.shape[2] - length], new.transpose(1, 2)], dim=2)
        case "v":
            fresh = call.v[:, :, call.v.shape[2] - length :]
            new = hook.see(fresh.transpose(1, 2))
            if new is None:
                return
            if cached and not torch.is_grad_enabled():
                fresh.copy_(new.transpose(1, 2))
            else:
                call.v = torch.cat([call.v[:, :, : call.v.shape[2] - length], new.transpose(1, 2)], dim=2)
        case "scores" | "pattern" as kind:
            every = torch.arange(length, device=call.q.device).expand(call.q.shape[0], -1)
            rows = attention.scores if kind == "scores" else attention.pattern
            hook.see(rows(call, every if hook.queries is None else hook.queries))
        case kind:
            raise AssertionError(f"{kind!r} is not found at a call of attention")
