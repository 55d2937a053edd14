"""One block of the sweep, and one held-out item: its context and query, and what was said under every condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Figure, Heatmap, Line, Panel, ReferenceLine, Scatter
from workbench.formatting import percent
from workbench.probe.explore import Details, SelectableDim, TextTable

from .figures import ARMS
from .learning.layer_sweep import INTENTS
from .task.matching import pair_accuracy

if TYPE_CHECKING:
    import xarray as xr

    from workbench.figures import Mark


def coordinates(data: xr.DataTree) -> list[SelectableDim]:
    """A block, the knob's own first; an arm; a condition, the knob first; and a held-out item."""
    swept, arms = data["sweep"].to_dataset(), _arms(data)
    layers, own = swept["layer"].values.tolist(), int(data.attrs["layer"])
    scored = _scored(data, arms[0])
    names = [str(name) for name in scored["condition"].values]
    # a knob that came from elsewhere may lie after a block that this sweep has left out
    found = [SelectableDim("block", layers, own if own in layers else _best(swept))]
    if len(arms) > 1:
        found.append(SelectableDim("arm", range(len(arms)), 0, [ARMS[arm] for arm in arms]))
    found.append(SelectableDim("condition", range(len(names)), names.index("knob"), names))
    examples = scored["example"].values.tolist()
    found.append(SelectableDim("example", examples, int(examples[0]), [str(name) for name in scored["subject"].values]))
    return found


def details(data: xr.DataTree, chosen: Mapping[str, int]) -> Details:
    """How one block steers, all items under one condition of one arm, and everything that was said of one item."""
    arm = _arms(data)[chosen.get("arm", 0)]
    scored = _scored(data, arm)
    condition = str(scored["condition"].values[chosen["condition"]])
    one = scored.sel(example=chosen["example"])
    right = _right(data, one).sel(condition=condition).values
    note = (
        f"Example {chosen['example']}, {_text(one, 'subject')}, {ARMS[arm]}, {condition}: the answer is "
        f"{_judged(right[0])} from the prior and {_judged(right[1])} from the context."
    )
    figures = [
        _item(data, one, arm, chosen["condition"]),
        _items(data, scored, arm, condition, chosen["example"]),
        _block(data, chosen["block"]),
    ]
    return Details(figures, note=note, tables=[_facts(one), _said(data, one, arm)])


def _facts(one: xr.Dataset) -> TextTable:
    value = [float(each) for each in one["value"].values]
    rows = [
        ("context", _text(one, "context")),
        ("query", _text(one, "query")),
        ("answer from the prior", _text(one, "prior")),
        ("answer from the context", _text(one, "other")),
        ("value along the direction, told prior", f"{value[0]:.2f}"),
        ("value along the direction, told context", f"{value[1]:.2f}"),
    ]
    caption = "The values are those at the last token of the prompts that tell the intent, nothing steered."
    return TextTable("item", f"The item: {_text(one, 'subject')}", caption, ("", "what it is"), rows)


def _said(data: xr.DataTree, one: xr.Dataset, arm: str) -> TextTable:
    right, said = _right(data, one).values, one["said"].values
    rows = [
        (str(name), str(said[place, 0]), _judged(right[place, 0]), str(said[place, 1]), _judged(right[place, 1]))
        for place, name in enumerate(one["condition"].values)
    ]
    return TextTable(
        "said",
        f"What was said, {ARMS[arm]}",
        f"Generated answers, right by {data.attrs['matching']} matching. Asked: the prompt tells the intent; others "
        "have no such line, and differ in the direction that is set.",
        ("condition", "for the prior", "is", "for the context", "is "),
        rows,
    )


def _item(data: xr.DataTree, one: xr.Dataset, arm: str, condition: int) -> Figure:
    right = _right(data, one).values.astype(float)
    names = [str(name) for name in one["condition"].values]
    rows = list(range(len(names)))
    return Figure(
        name="example",
        title=f"{_text(one, 'subject')}: which answers are right, {ARMS[arm]}",
        panels=[
            Panel(
                [Heatmap(right, [0, 1], rows, "right", limits=(0.0, 1.0), outlined=[(condition, 0), (condition, 1)])],
                Axis("intent", [0, 1], list(INTENTS)),
                Axis("condition", rows, names, reversed=True, dim="condition"),
            )
        ],
        caption="1 is right and 0 is not, by condition and by the intent told or set. Outlined: the chosen condition.",
        alt=f"Grid of conditions and intents, right or not, for the item on {_text(one, 'subject')}.",
    )


def _items(data: xr.DataTree, scored: xr.Dataset, arm: str, condition: str, example: int) -> Figure:
    right = _right(data, scored).sel(condition=condition).values
    names, x = [str(name) for name in scored["subject"].values], scored["example"].values
    natural, value = list(data.attrs["natural"]), scored["value"].values
    panels = []
    for way, intent in enumerate(INTENTS):
        marks: list[Mark] = []
        for which, label in ((right[way], "right"), (~right[way], "not right")):
            at = np.flatnonzero(which)
            if at.size:
                points = x[at].tolist(), value[way, at].tolist()
                marks.append(Scatter(*points, label, names=[names[place] for place in at]))
        marks += [ReferenceLine(natural[way], "y", f"natural, {intent}"), ReferenceLine(example, "x", "example")]
        panels.append(
            Panel(marks, Axis("example", dim="example"), Axis("value along the direction"), f"for the {intent}")
        )
    return Figure(
        name="items",
        title=f"Every held-out item, {ARMS[arm]}: {condition}",
        panels=panels,
        caption=(
            f"Across: the item. Up: its value along the direction when the prompt tells this intent. Told apart is "
            f"whether its answer is right under the condition {condition}."
        ),
        alt=f"Value along the direction of each held-out item by intent, those right under {condition} told apart.",
        columns=2,
    )


def _block(data: xr.DataTree, layer: int) -> Figure:
    swept = data["sweep"].to_dataset().sel(layer=layer)
    right = swept["right"].transpose("intent", "stretch", "example").values
    stretches = [f"{each:g}" for each in swept["stretch"].values]
    rows, items = list(range(len(stretches))), swept["example"].values.tolist()
    pairs = pair_accuracy(swept["right"].transpose("stretch", "intent", "example").values).mean(-1)
    panels = [
        Panel(
            [Heatmap(right[way].astype(float), items, rows, "right", limits=(0.0, 1.0))],
            Axis("validation item"),
            Axis("stretch", rows, stretches),
            f"set to the {intent}",
        )
        for way, intent in enumerate(INTENTS)
    ]
    steps = swept["step"].values.tolist()
    losses = Line(steps, swept["losses"].values.tolist(), "cross-entropy")
    panels.append(Panel([losses], Axis("step"), Axis("loss (nats)"), "while it was learnt"))
    return Figure(
        name="block",
        title=f"Block {layer}: the direction learnt there steers {percent(float(pairs.max()))} of the pairs",
        panels=panels,
        caption=(
            "Validation items steered along the direction of this block: 1 is right and 0 is not, by how far it is "
            "set, as a multiple of the natural values' distance from their middle. Last: the loss while it was learnt."
        ),
        alt=f"Grids of right answers by stretch and validation item at block {layer}, and the loss over the steps.",
        columns=3,
    )


def _arms(data: xr.DataTree) -> list[str]:
    return [str(arm) for arm in data["scored"].children]


def _scored(data: xr.DataTree, arm: str) -> xr.Dataset:
    return data[f"scored/{arm}"].to_dataset()


def _right(data: xr.DataTree, scored: xr.Dataset) -> xr.DataArray:
    """Whether answers are right by the rule of this run's headlines."""
    return scored[str(data.attrs["matching"])].astype(bool)


def _best(swept: xr.Dataset) -> int:
    pairs = pair_accuracy(swept["right"].values).mean(-1).max(1)
    return int(swept["layer"].values[int(pairs.argmax())])


def _text(one: xr.Dataset, name: str) -> str:
    return str(one[name].values)


def _judged(right: object) -> str:
    return "right" if right else "not right"
