"""What passes at a place in the model, shown to a tap, and the tap's replacement put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .. import attention

if TYPE_CHECKING:
    from torch import Tensor

    from ..architectures import Architecture, ModuleSite
    from .base import Hook


def replaced(architecture: Architecture, passing: Tensor, tap: Hook, place: ModuleSite) -> Tensor | None:
    """What passes at the module with the tap's replacement written into it; None if nothing else is to pass."""
    new = tap.see(architecture.view(passing, place, tap.site.kind))
    if new is None:
        return None
    if place.side == "stream":
        passing.copy_(new)  # the skip connection holds the same tensor, and must see the replacement too
        return None
    if place.layout == "whole":
        return new
    written = passing.clone()
    architecture.view(written, place, tap.site.kind).copy_(new)
    return written


def at_attention(call: attention.Call, tap: Hook) -> None:
    """Show a call of attention to a tap at one of the kinds that are found there."""
    if tap.change is not None:
        tap.change(call)
        return
    length = call.q.shape[2]
    match tap.site.kind:
        case "q_rot":
            new = tap.see(call.q.transpose(1, 2))
            call.q = call.q if new is None else new.transpose(1, 2)
        case "k_rot":
            fresh = call.k[:, :, call.k.shape[2] - length :]
            new = tap.see(fresh.transpose(1, 2))
            if new is None:
                return
            if torch.is_grad_enabled():
                call.k = torch.cat([call.k[:, :, : call.k.shape[2] - length], new.transpose(1, 2)], dim=2)
            else:
                fresh.copy_(new.transpose(1, 2))  # the cache holds the same tensor: later tokens see it too
        case kind:
            every = torch.arange(length, device=call.q.device).expand(call.q.shape[0], -1)
            rows = attention.scores if kind == "scores" else attention.pattern
            tap.see(rows(call, every if tap.queries is None else tap.queries))
