"""Attribution patching: the effect of every cell estimated from one gradient, instead of a run for each.

Nanda 2023; Syed et al. 2023 (arXiv 2310.10348): the effect of writing a value is about its difference from what is
there, times the gradient of the metric there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...errors import UsageError
from ..edits import Edit, Frame
from ..hooked_model import HookedModel
from ..site_changes import changed
from ..sites import Site
from ..tokens import TokenBatch
from .cells import Cell
from .metrics import Reading
from .path_grid import PathCell


def check(cells: Sequence[Cell]) -> None:
    """Raise `UsageError` for an edit whose effect has no such estimate."""
    for cell in cells:
        if isinstance(cell, PathCell):
            raise UsageError("a gradient tells the effect of a site on all its paths: leave method out for paths")
        for edit in cell.edits:
            if not isinstance(edit, Edit):
                raise UsageError(
                    f"a gradient tells the effect of edits at sites alone, and not that of {edit}: leave method out"
                )


def estimates(
    hooked: HookedModel,
    tokens: TokenBatch,
    cells: Sequence[Cell],
    base: Mapping[Site, Tensor],
    reading: Reading,
    clean: Tensor,
    columns: Tensor,
) -> Tensor:
    """What the metric would change by in each cell to first order, float64 `[cell]`; one forward and one backward run.

    `base` is what the run without edits has at the sites, `clean` the clean run's logits.
    """
    sites = sorted({edit.site.whole for cell in cells for edit in cell.at_sites})  # type: ignore[union-attr]
    gradients = hooked.gradients(
        tokens, sites, lambda logits: reading.value(logits, clean.to(logits)).sum(), (), columns.tolist()
    )
    frame = Frame(tokens)
    found = torch.zeros(len(cells), dtype=torch.float64)
    for index, cell in enumerate(cells):
        for edit in cell.at_sites:
            site: Site = edit.site.whole  # type: ignore[union-attr]
            new = changed(edit, base[site], frame)
            if new is not None:
                slope = gradients[site].to(new.device)
                found[index] += float(((new - base[site]).double() * slope.double()).sum())
    return found


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of two tables, cells that are NaN left out; NaN where one of them does not vary."""
    import pandas as pd

    there = ~np.isnan(one) & ~np.isnan(other)
    first, second = (pd.Series(table[there]).rank().to_numpy() for table in (one, other))
    if there.sum() < 2 or first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
