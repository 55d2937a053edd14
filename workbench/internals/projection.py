"""What is done along one direction: interchange between two runs, and setting a value; u has length one throughout."""

from __future__ import annotations

from torch import Tensor


def interchange(target: Tensor, source: Tensor, u: Tensor) -> Tensor:
    """h' = (I − P) h_target + P h_source with P = u uᵀ, for states `[…, d_model]`."""
    return target + ((source - target) @ u)[..., None] * u


def steer(state: Tensor, u: Tensor, value: Tensor | float) -> Tensor:
    """h' = (I − P) h + value · u, for states `[…, d_model]` and values `[…]`."""
    return state + (value - state @ u)[..., None] * u


def unit(direction: Tensor) -> Tensor:
    """The direction with length one."""
    return direction / direction.norm()
