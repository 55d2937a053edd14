"""The parts of a run that touch a model, as they are kept and put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Parts:
    """The datasets of a run, and by how much a prediction changed when what comes after its query was cut off."""

    validation: xr.Dataset
    test: xr.Dataset
    others: xr.Dataset
    implied: xr.Dataset
    shifts: xr.Dataset
    labels: xr.Dataset
    encodings: xr.Dataset
    exchange: xr.Dataset
    cut: float
