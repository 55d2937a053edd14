"""What a run was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.texts.facts import Facts, Split

from .knob.learned import SteeringDirection
from .task.items import SampledItems

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """What a run was made of: items by split, the sweep, what was steered with, and the scores by arm."""

    facts: Facts
    drawn: dict[Split, SampledItems]
    swept: xr.Dataset
    found: SteeringDirection
    random: Mapping[str, Tensor]
    saved: str | None
    scored: dict[str, xr.Dataset]
    curves: dict[str, xr.Dataset]
    configurations: dict[str, xr.Dataset]
    left_out: Mapping[str, str]
    searched: dict[str, xr.Dataset]
    adapter: str | None
