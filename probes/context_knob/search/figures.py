"""The pictures of the layer search: what is read after each block, and what each block does alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Bars, Figure, Line, Mark, Panel, ReferenceLine

from ..config import ARMS
from .summary import TITLES, counted

if TYPE_CHECKING:
    import xarray as xr

SHARE = (-0.02, 1.02)
ENDINGS = {
    "found": "{blocks}",
    "overwritten": "{blocks}, overwritten",
    "there already": "there without a patch",
    "out of reach": "no blocks suffice",
}


def draw(data: xr.DataTree) -> list[Figure]:
    """Two pictures an arm; none where nothing was searched."""
    if "search" not in data.children:
        return []
    arms = {str(arm): node.to_dataset() for arm, node in data["search"].children.items()}
    return [make(arm, found) for make in (_ribbons, _alone) for arm, found in arms.items()]


def _ribbons(arm: str, found: xr.Dataset) -> Figure:
    panels = []
    layers = found["layer"].values.tolist()
    for name in found["setting"].values:
        here = found.sel(setting=name)
        blocks = np.flatnonzero(here["found"].values).tolist()
        shown = "found" if blocks else "every"
        marks: list[Mark] = []
        if blocks:
            marks.append(Bars(blocks, [1.0] * len(blocks), "patched", secondary=True))
        for answer in ("source", "target"):
            at = here.sel(condition=shown, answer=answer)
            band = (at["low"].values.tolist(), at["high"].values.tolist())
            marks.append(Line(layers, at["mean"].values.tolist(), f"{answer}'s answer", *band))
        bare = here.sel(condition="none", answer="source")["mean"].values.tolist()
        marks.append(Line(layers, bare, "source's answer, no patch", secondary=True))
        if np.isfinite(float(here["tau"])):
            marks.append(ReferenceLine(float(here["tau"]), "y", "threshold"))
        ending = ENDINGS[str(here["verdict"].item())].format(blocks=counted(here["found"].values))
        title = f"{TITLES[str(name)]}: {ending}"
        panels.append(Panel(marks, _blocks("block", layers, dim="block"), Axis("probability", limits=SHARE), title))
    return Figure(
        name=f"search_{arm}",
        title=f"Which answer the last token holds after each block, {ARMS[arm]}",
        panels=panels,
        caption=(
            "Probability of the first token of each answer, read after each block by the token-identity PatchScope: "
            f"mean over {found.sizes['example']} held-out items with its interval. At the target's last token, the "
            "attention outputs of the marked blocks come from the source run; where the search found none, those of "
            "every block. Blocks and threshold come from validation items; the table search has every evaluation."
        ),
        alt="Probability of the source's and the target's answer over the block they are read after, in four settings.",
        columns=2,
    )


def _alone(arm: str, found: xr.Dataset) -> Figure:
    panels = []
    width = [int(width) for width in found["width"].values]
    for name in found["setting"].values:
        here = found.sel(setting=name, answer="source")
        marks: list[Mark] = []
        for size in width:
            at = here.sel(width=size)
            there = np.flatnonzero(np.isfinite(at["alone_mean"].values))
            x = (found["layer"].values[there] + (size - 1) / 2).tolist()
            y, low, high = (at[f"alone_{end}"].values[there].tolist() for end in ("mean", "low", "high"))
            marks.append(Line(x, y, "one block" if size == 1 else f"{size} neighbouring blocks", low, high))
        bare = float(here.sel(condition="none")["mean"].values[-1])
        every = float(here.sel(condition="every")["mean"].values[-1])
        if np.isfinite(bare):
            marks += [ReferenceLine(bare, "y", "no patch"), ReferenceLine(every, "y", "every block")]
        panels.append(
            Panel(
                marks,
                _blocks("block, middle of the patched ones", found["layer"].values.tolist()),
                Axis("probability", limits=SHARE),
                TITLES[str(name)],
            )
        )
    return Figure(
        name=f"alone_{arm}",
        title=f"What single blocks and windows bring to the output, {ARMS[arm]}",
        panels=panels,
        caption=(
            "Probability of the source's answer as the next token when only these blocks' attention outputs at the "
            f"last token come from the source run: mean over {found.sizes['example']} held-out items with its interval."
        ),
        alt="Probability of the source's answer over the single block or window that is patched, in four settings.",
        columns=2,
    )


def _blocks(label: str, layers: list[int], dim: str = "") -> Axis:
    ticks = layers[:: 1 if len(layers) <= 8 else 5]
    return Axis(label, ticks, [str(layer) for layer in ticks], limits=(-0.6, layers[-1] + 0.6), dim=dim)
