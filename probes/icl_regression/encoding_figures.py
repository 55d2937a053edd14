"""The pictures of where quantities can be read, and of whether they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Figure, Heatmap, Panel

from .curve_marks import PREFIX, band
from .encodings import LEARNER, TARGETS
from .exchange import PROBE, WHOLE

if TYPE_CHECKING:
    import xarray as xr


def encodings(data: xr.DataTree) -> Figure:
    found = data["encodings"].to_dataset()
    panels = []
    for arm, head in [(LEARNER, "linear"), *((str(arm), "mlp") for arm in found["arm"].values)]:
        for target in found["target"].values:
            r2 = found["r2"].sel(target=target, arm=arm, head_kind=head).dropna("blocks", how="all")
            values = np.round(np.clip(r2.values, 0, 1), 2)
            blocks = [str(each) for each in r2["blocks"].values]
            panels.append(
                Panel(
                    [Heatmap(values, _places(r2, "prefix"), _places(r2, "blocks"), "R²", limits=(0.0, 1.0))],
                    Axis(PREFIX, _places(r2, "prefix"), [str(each) for each in r2["prefix"].values]),
                    Axis("blocks passed", _places(r2, "blocks"), blocks),
                    f"{'XᵀY' if target == 'moment' else 'weights'}, {arm}, {'two-layer' if head == 'mlp' else head}",
                )
            )
    return Figure(
        name="encodings",
        title="Where XᵀY and the weights can be read",
        panels=panels,
        caption="Variance that position probes explain on test prompts, cut at 0. Raw inputs have no blocks to pass.",
        alt="Grids of blocks and prefixes, coloured by the variance that probes explain, for each arm.",
        columns=2,
    )


def _places(found: xr.Dataset | xr.DataArray, dim: str) -> list[float]:
    return list(range(found.sizes[dim]))


def attention(data: xr.DataTree) -> Figure:
    found = data["encodings"].to_dataset()
    panels = []
    for target in found["target"].values:
        r2 = found["r2_validation"].sel(target=target, arm=LEARNER, head_kind="mlp").mean("prefix")
        block = int(r2["blocks"][int(np.nanargmax(r2.values))])
        values = found["attention"].sel(target=target, head_kind="mlp", blocks=block).values
        positions = found["position"].values
        panels.append(
            Panel(
                [Heatmap(values, positions.tolist(), _places(found, "prefix"), "attention", limits=(0.0, 1.0))],
                Axis("token", positions.tolist(), [f"{'xy'[place % 2]}{place // 2 + 1}" for place in positions]),
                Axis("pairs", _places(found, "prefix"), [str(each) for each in found["prefix"].values]),
                f"{'XᵀY' if target == 'moment' else 'weights'}, after {block} blocks",
            )
        )
    return Figure(
        name="attention",
        title="Which tokens the probes read",
        panels=panels,
        caption="Two-layer probes after the block that is best on validation prompts; a probe sees its prefix alone.",
        alt=f"Grids of prefixes and tokens coloured by the probe's attention, for {' and '.join(TARGETS.values())}.",
    )


def exchange(data: xr.DataTree) -> Figure:
    found = data["exchange"].to_dataset()
    x = found["blocks"].values
    panels = []
    for n in found["prefix"].values:
        here = found.sel(prefix=n)
        random = [str(each) for each in found["subspace"].values if each not in (PROBE, WHOLE)]
        marks = [
            band(here.sel(subspace=each), "effect", "random subspaces" if not place else "", x, True)
            for place, each in enumerate(random)
        ]
        marks += [band(here.sel(subspace=each), "effect", each, x) for each in (WHOLE, PROBE)]
        panels.append(Panel(marks, Axis("blocks passed"), Axis("share of the way"), f"{n} pairs"))
    return Figure(
        name="exchange",
        title="Does the prediction follow what a probe reads?",
        panels=panels,
        caption="How far the prediction goes towards another prompt's when the stream at the pairs' tokens is given "
        "that prompt's part along a subspace; 1 is all the way.",
        alt="Curves over blocks of the effect of exchanging the probe's subspace, random ones and the whole state.",
        columns=3,
    )
