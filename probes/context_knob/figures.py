"""The pictures of the context knob."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Bars, Figure, Heatmap, Line, Mark, Panel, ReferenceLine, Scatter, Violin

from .config import ARMS
from .evaluation.figures import evaluation_figures
from .search import figures
from .task.matching import pair_accuracy

if TYPE_CHECKING:
    import xarray as xr

SHARE = (-0.02, 1.02)
NAMED = (-0.02, 1.12)
"""With room above the curves for the names of lines."""


def draw(data: xr.DataTree) -> list[Figure]:
    """All pictures, the most telling first."""
    return [
        _conditions(data),
        _curves(data),
        _sweep(data),
        _values(data),
        *evaluation_figures(data),
        *figures.draw(data),
        _cosines(data),
        _answers(data),
    ]


def _conditions(data: xr.DataTree) -> Figure:
    arms = data["arms"].to_dataset()
    names = [str(name) for name in arms["condition"].values if not str(name).startswith("random-")]
    random = [str(name) for name in arms["condition"].values if str(name).startswith("random-")]
    ticks = [*names, "random"]
    panels = []
    for arm in arms["arm"].values:
        here = arms.sel(arm=arm)

        def heights(name: str, here: xr.Dataset = here) -> list[float]:
            rows = here[name] if name == "pair_accuracy" else here["accuracy"].sel(intent=name)
            own = [float(rows.sel(condition=each)) for each in names]
            return [*own, float(rows.sel(condition=random).mean())]

        x = list(range(len(ticks)))
        marks: list[Mark] = [
            Bars(x, heights("pair_accuracy"), "both right", names=ticks),
            Scatter(x, heights("prior"), "right from the prior", names=ticks),
            Scatter(x, heights("context"), "right from the context", names=ticks, secondary=True),
        ]
        panels.append(
            Panel(
                marks, Axis("condition", x, ticks, dim="condition"), Axis("share", limits=SHARE), title=ARMS[str(arm)]
            )
        )
    return Figure(
        name="conditions",
        title="Pairs answered right: asked, and steered by one direction",
        panels=panels,
        caption=(
            "Asked: the prompt tells the intent. All others: no intent line; unsteered, or with a value set along the "
            "knob, the difference of means, a direction learnt on shuffled labels, or random ones (their mean)."
        ),
        alt="Bars of pair accuracy by condition, with the accuracy of each intent as points, by arm.",
        columns=len(panels),
    )


def _curves(data: xr.DataTree) -> Figure:
    panels = []
    for arm in data["curve"].children:
        curve = data["curve"][arm].to_dataset()
        x = curve["set_to"].values.tolist()
        marks: list[Mark] = []
        for intent in ("prior", "context"):
            each = curve["probability"].sel(intent=intent).values
            low, high = np.quantile(each, [0.25, 0.75], axis=1)
            marks.append(Line(x, each.mean(1).tolist(), f"answer from the {intent}", low.tolist(), high.tolist()))
        natural = list(data.attrs["natural"])
        marks += [ReferenceLine(natural[0], "x", "natural, prior"), ReferenceLine(natural[1], "x", "natural, context")]
        panels.append(
            Panel(marks, Axis("value along the direction"), Axis("probability", limits=NAMED), title=ARMS[str(arm)])
        )
    return Figure(
        name="curves",
        title="Which answer comes, over the value that is set",
        panels=panels,
        caption=(
            "Probability of the first token of each answer without an intent line: mean over held-out items, with the "
            "middle half as a band. The lines are where the value lies by itself when the prompt tells the intent."
        ),
        alt="Two crossing curves of answer probability over the value along the direction, by arm.",
        columns=len(panels),
    )


def _sweep(data: xr.DataTree) -> Figure:
    swept = data["sweep"].to_dataset()
    right = pair_accuracy(swept["right"].values).mean(-1)
    layers = swept["layer"].values.tolist()
    marks: list[Mark] = [Line(layers, right.max(1).tolist(), "best stretch")]
    marks += [
        Line(layers, right[:, place].tolist(), f"stretch {stretch:g}", secondary=True)
        for place, stretch in enumerate(swept["stretch"].values)
    ]
    marks.append(ReferenceLine(float(data.attrs["layer"]), "x", "block of the knob"))
    return Figure(
        name="sweep",
        title="Where one direction steers",
        panels=[Panel(marks, Axis("block", dim="block"), Axis("steering pair accuracy", limits=NAMED))],
        caption=(
            f"A direction learnt by interchange at each block, then set without an intent line on "
            f"{swept.sizes['example']} validation items, at several multiples of its natural values."
        ),
        alt="Steering pair accuracy over the block after which the direction is set.",
    )


def _values(data: xr.DataTree) -> Figure:
    panels = []
    for arm in data["scored"].children:
        value = np.asarray(data[f"scored/{arm}"].to_dataset()["value"])
        panels.append(
            Panel(
                [Violin([0, 1], [value[0].tolist(), value[1].tolist()], "value")],
                Axis("intent told", [0, 1], ["prior", "context"]),
                Axis("value along the direction"),
                title=ARMS[str(arm)],
            )
        )
    return Figure(
        name="values",
        title="The value along the direction, by the intent that the prompt tells",
        panels=panels,
        caption="At the last token of the held-out prompts, nothing steered.",
        alt="Distributions of the value along the direction for both intents, by arm.",
        columns=len(panels),
    )


def _cosines(data: xr.DataTree) -> Figure:
    cosines = data["cosines"].to_dataset()["cosine"]
    names = [str(name) for name in cosines["one"].values]
    ticks = list(range(len(names)))
    values = np.abs(np.asarray(cosines.values))
    return Figure(
        name="cosines",
        title="How alike the knob and its controls are",
        panels=[
            Panel(
                [Heatmap(values, ticks, ticks, "|cosine|", limits=(0.0, 1.0))],
                Axis("", ticks, names),
                Axis("", ticks, names, reversed=True),
            )
        ],
        caption=(
            "Cosine, without its sign, between the knob's direction, the difference of the means, a direction learnt "
            "on shuffled labels, and random ones."
        ),
        alt="Grid of the absolute cosine between the knob and its controls.",
    )


def _answers(data: xr.DataTree) -> Figure:
    arm = next(iter(data["scored"].children))
    right = np.asarray(data[f"scored/{arm}"].to_dataset()[str(data.attrs["matching"])].sel(condition="knob"))
    kinds = ["both", "context only", "prior only", "neither"]
    counts = [
        (right[0] & right[1]).mean(), (~right[0] & right[1]).mean(),
        (right[0] & ~right[1]).mean(), (~right[0] & ~right[1]).mean(),
    ]  # fmt: skip
    x = list(range(len(kinds)))
    return Figure(
        name="answers",
        title="Which answers the knob gets right",
        panels=[
            Panel(
                [Bars(x, [float(count) for count in counts], "share of items", names=kinds)],
                Axis("answers that are right", x, kinds),
                Axis("share of items", limits=SHARE),
                title=ARMS[str(arm)],
            )
        ],
        caption="Held-out items steered to the prior and to the context; the table answers has every text.",
        alt="Bars of the share of items by which steered answers are right.",
    )
