"""The pictures of head roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Figure, Heatmap, Line, Panel, ReferenceLine, Scatter
from workbench.formatting import percent

from .findings import recall_of
from .headlines import ORDER
from .summary import named

if TYPE_CHECKING:
    import xarray as xr

SHOWN = 40
"""Heads drawn in the sorted plot."""


def draw(data: xr.DataTree) -> list[Figure]:
    """All pictures, the most telling first."""
    return [_grid(data), _curve(data), _sorted(data), _against_induction(data), _places(data)]


def _grid(data: xr.DataTree) -> Figure:
    heads = data["heads"].to_dataset()
    found = named(heads)
    shape = heads["copy_score"].shape
    many = f"{len(found)} of {heads['named'].size} heads"
    return Figure(
        name="grid",
        title=f"{many} copy from the needle" if found else "No head copies from the needle",
        panels=[
            Panel(
                marks=[
                    Heatmap(
                        heads["copy_score"].values,
                        x=list(range(shape[1])),
                        y=list(range(shape[0])),
                        label="retrieval score",
                        limits=(0.0, 1.0),
                        outlined=found,
                    )
                ],
                x=Axis("head", dim="head"),
                y=Axis("layer", dim="layer"),
            )
        ],
        caption="Retrieval score of every head on the held-out needles; named retrieval heads are outlined.",
        alt=f"Grid of layers and heads coloured by retrieval score; {many} are outlined as retrieval heads.",
    )


def _curve(data: xr.DataTree) -> Figure:
    ablation = data["ablation"].to_dataset()
    how, main = str(data.attrs["ablation"]), int(data.attrs["top"])
    curve = data["curve"].to_dataset()
    marks: list[Line | Scatter] = [
        _band(curve, "random", "random heads of the same layers", secondary=True),
        _band(curve, "top", "top heads"),
    ]
    if how != "zero" and (ablation["how"] == "zero").any():
        zero = recall_of(ablation, main, "zero")
        marks.append(Scatter([main], [float(zero.top.mean())], f"top {main} heads, zeroed"))
        if len(zero.random):
            marks.append(Scatter([main], [float(zero.random.mean())], f"random {main}, zeroed", secondary=True))
    return Figure(
        name="ablation",
        title=f"Needle recall with heads taken out ({how} ablation)",
        panels=[Panel(marks, Axis("ablated heads"), Axis("share of needles recalled", limits=(-0.02, 1.02)))],
        caption=(
            f"Recall of the same {ablation.sizes['example']} held-out needles with the top heads of the selection "
            "needles ablated, and with as many random heads of the same layers. The bands are 95 % intervals."
        ),
        alt="Curves of needle recall over the number of ablated heads, for the top heads and for random heads.",
    )


def _band(curve: xr.Dataset, name: str, label: str, secondary: bool = False) -> Line:
    y, low, high = (curve[f"{name}{end}"].values.tolist() for end in ("", "_low", "_high"))
    return Line(curve["count"].values.tolist(), y, label, low, high, secondary=secondary)


def _sorted(data: xr.DataTree) -> Figure:
    heads = data["heads"].to_dataset()
    score = heads["copy_score"].values
    order = np.argsort(-score, axis=None, kind="stable")[:SHOWN]
    at = [(int(index) // score.shape[1], int(index) % score.shape[1]) for index in order]
    x = list(range(1, len(at) + 1))

    def of(name: str) -> list[float]:
        return [float(heads[name].values[each]) for each in at]

    return Figure(
        name="sorted",
        title="Retrieval scores fall off fast" if len(named(heads)) < 0.1 * score.size else "Retrieval scores in order",
        panels=[
            Panel(
                [
                    Scatter(
                        x,
                        of("copy_score"),
                        "retrieval score",
                        of("copy_low"),
                        of("copy_high"),
                        names=[f"{layer}.{head}" for layer, head in at],
                        dims={"layer": [layer for layer, _ in at], "head": [head for _, head in at]},
                    ),
                    Scatter(x, of("copy_chance"), ORDER, secondary=True),
                    ReferenceLine(float(data.attrs["threshold"]), "y", "threshold"),
                ],
                Axis("heads, the highest score first"),
                Axis("retrieval score"),
            )
        ],
        caption=f"The {len(at)} highest retrieval scores on the held-out needles, with 95 % intervals over needles.",
        alt="Retrieval scores of single heads in falling order, with a line at the threshold.",
    )


def _against_induction(data: xr.DataTree) -> Figure:
    heads = data["heads"].to_dataset()
    score = heads["copy_score"].values.ravel()
    every = [(int(layer), int(head)) for layer in heads["layer"].values for head in heads["head"].values]
    names = [f"{layer}.{head}" for layer, head in every]
    dims = {"layer": [layer for layer, _ in every], "head": [head for _, head in every]}
    panels = []
    for repeat, period in zip(heads["repeat"].values, heads["period"].values, strict=True):
        induction = heads["induction"].sel(repeat=repeat).values.ravel()
        panels.append(
            Panel(
                [
                    Scatter(induction.tolist(), score.tolist(), "heads", names=names, dims=dims),
                    ReferenceLine(float(data.attrs["threshold"]), "y", "threshold"),
                ],
                Axis("induction score", limits=(-0.02, 1.02)),
                Axis("retrieval score", limits=(-0.02, 1.02)),
                title=f"{repeat} repeat, {period} tokens",
            )
        )
    return Figure(
        name="induction",
        title="Copying from a needle and induction on repeated random tokens",
        panels=panels,
        caption="One point a head. Heads to the right and below do induction without copying from the needle.",
        alt="Retrieval score against induction score, one point a head, for near and for far repeats.",
        columns=2,
    )


def _places(data: xr.DataTree) -> Figure:
    scored = data["held_out"].to_dataset()
    depths = sorted(set(scored["asked_depth"].values.tolist()))
    lengths = sorted(set(scored["asked_length"].values.tolist()))
    grid = np.full((len(depths), len(lengths)), np.nan)
    for row, depth in enumerate(depths):
        for column, length in enumerate(lengths):
            here = (scored["asked_depth"] == depth) & (scored["asked_length"] == length)
            if here.any():
                grid[row, column] = scored["correct"].values[here.values].mean()
    return Figure(
        name="places",
        title=f"The model recalls {percent(scored['correct'].values.mean())} of the held-out needles",
        panels=[
            Panel(
                [
                    Heatmap(
                        grid,
                        x=list(range(len(lengths))),
                        y=list(range(len(depths))),
                        label="share recalled",
                        limits=(0.0, 1.0),
                    )
                ],
                Axis("tokens of the prompt", list(range(len(lengths))), [str(length) for length in lengths]),
                Axis("depth", list(range(len(depths))), [f"{depth:.2f}" for depth in depths], reversed=True),
            )
        ],
        caption="Share of held-out needles recalled with nothing ablated, by prompt length and by the needle's depth.",
        alt="Grid of needle recall by prompt length and depth.",
    )
