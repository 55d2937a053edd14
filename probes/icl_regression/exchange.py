"""Does the learner use what a probe reads? The encoded quantity is exchanged, and one looks whether predictions follow.

Two prompts have the same inputs and other weights. Along the subspace of the linear probe the stream of one, at all
tokens of its pairs, is given the other's component; the query's own token is left alone. If the prediction comes from
what is encoded there, it moves towards the other prompt's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.internals import edits
from workbench.records.results import variable

from .asking import Task
from .behaviour import BLOCKS, PREFIX, drawn
from .config import IclRegressionConfig
from .prompts import tokens

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.probe.contract import RunContext

PROBE, WHOLE = "probe", "whole state"


def exchange(
    session: Session, found: xr.Dataset, target: str, task: Task, config: IclRegressionConfig, context: RunContext
) -> xr.Dataset:
    """How far predictions follow an exchange along each subspace, after each block but the last and for each prefix.

    Random subspaces have the probe's rank, and what they change is scaled to the norm of what the probe's changes, at
    each token. `whole state` exchanges everything: how much the later blocks take from these tokens at all.
    """
    import xarray as xr

    prefixes = [int(each) for each in found["prefix"].values]
    blocks = [int(each) for each in found["blocks"].values][:-1]
    rng = context.rng("exchanged prompts")
    mine = drawn(config.patched, task, rng)
    other = drawn(config.patched, task, rng)
    labels = other.y - (other.x * other.w[:, None]).sum(-1) + (mine.x * other.w[:, None]).sum(-1)
    names = [PROBE, *(f"random {place}" for place in range(config.random_subspaces)), WHOLE]
    moved = np.zeros((len(names), len(blocks), len(prefixes), config.patched))
    gap = np.zeros((len(prefixes), config.patched))
    jobs = [(place, n, block) for place, n in enumerate(prefixes) for block in blocks]
    for place, n, block in context.progress.steps(jobs, "exchanges"):
        site = "resid_pre.0" if block == 0 else f"resid_post.{block - 1}"
        clean, source = (tokens(mine.x[:, : n + 1], each[:, : n + 1]) for each in (mine.y, labels))
        at_pairs = list(range(2 * n))
        seen = [session.capture(values, [site], logits=True) for values in (clean, source)]
        said, theirs = (each.logits[:, -1, 0].double().cpu() for each in seen if each.logits is not None)
        gap[place] = (theirs - said).numpy()
        apart = (seen[1][site] - seen[0][site])[:, : 2 * n].float()
        directions = torch.from_numpy(found["directions"].sel(target=target, blocks=block, prefix=n).values)
        along = _within(apart, directions)
        for row, name in enumerate(names):
            change = along if name == PROBE else apart
            if name not in (PROBE, WHOLE):
                change = _within(apart, torch.from_numpy(rng.standard_normal(directions.shape)))
                change = change * (along.norm(dim=-1) / change.norm(dim=-1).clamp_min(1e-12))[..., None]
            after = session.logits(clean, positions=[-1], edits=[edits.add(site, change, positions=at_pairs)])
            moved[row, list(blocks).index(block), place] = (after[:, 0, 0].double().cpu() - said).numpy()
    return xr.Dataset(
        {
            "moved": variable(("subspace", "blocks", "prefix", "example"), moved, "1", "change of the prediction"),
            "gap": variable(("prefix", "example"), gap, "1", "the other prompt's prediction minus the prompt's own"),
        },
        coords={
            "subspace": ("subspace", names, {"description": "what was exchanged of the stream"}),
            "blocks": ("blocks", blocks, {"description": BLOCKS}),
            "prefix": ("prefix", prefixes, {"description": PREFIX}),
            "example": np.arange(config.patched),
        },
    )


def _within(apart: Tensor, directions: Tensor) -> Tensor:
    """The part of `apart […, feature]` that lies in the span of `directions [feature, output]`."""
    basis = torch.linalg.qr(directions.double())[0].to(apart.dtype)
    return apart @ basis @ basis.T
