"""The pictures of an attention profile; they stay readable, and within the display budget, at any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Bars, Figure, Heatmap, Line, Panel, Scatter, escape_whitespace
from workbench.figures.text import shorten

if TYPE_CHECKING:
    import xarray as xr

SHARES = {
    "sink_mass": "attention on sinks",
    "recent_mass": "attention on recent tokens",
    "far_mass": "attention far away",
    "normalised_entropy": "entropy / ln(visible keys)",
}
"""What the grids and curves show: all between 0 and 1."""
CELLS = 20_000
"""Cells that one heat map of heads by query bins may take of the display budget."""
NAMED = 12
"""Keys that are named along the text."""


def draw(data: xr.DataTree) -> list[Figure]:
    """All pictures, the most telling first."""
    return [_grids(data), _curves(data), _received(data), _flow(data), _heads(data), _top(data)]


def _note(data: xr.DataTree) -> str:
    context, length = int(data.attrs["context"]), int(data.attrs["text_length"])
    if not context or length <= context:
        return ""
    return f" The model was trained for {context:,} of these {length:,} tokens: what lies beyond is a proof of scale."


def _grids(data: xr.DataTree) -> Figure:
    heads = data["heads"].to_dataset().sel(condition="text").mean("example")
    layers = [int(layer) for layer in heads["layer"].values]
    low, high = int(data.attrs["scored_from"]), int(data.attrs["scored_to"])
    panels = [
        Panel(
            [Heatmap(heads[name].values, heads["head"].values.tolist(), layers, label, limits=(0.0, 1.0))],
            Axis("head", dim="head"),
            Axis("layer", dim="layer"),
            label,
        )
        for name, label in SHARES.items()
    ]
    return Figure(
        name="grids",
        title=f"Where every head looks, with {low:,} to {high:,} tokens before it",
        panels=panels,
        caption=(
            f"Mean over the queries {low:,} to {high - 1:,} of all texts. Sinks are the first {data.attrs['sink']} "
            f"tokens, recent ones the last {data.attrs['recent']}, far everything between; the three sum to one."
        ),
        alt="Grids of layers and heads: shares of attention on sinks, on recent tokens and far away, and entropy.",
        columns=2,
    )


def _curves(data: xr.DataTree) -> Figure:
    profile = data["profile"].to_dataset()
    query = _middles(profile, "query")
    panels = []
    for name, label in SHARES.items():
        values = profile[name].values.reshape(-1, len(query))
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
        marks: list[Line] = [
            Line(query, profile[f"uniform_{name}"].values.tolist(), "uniform attention", secondary=True),
            Line(query, middle.tolist(), "median head, 10 % to 90 % of heads", low.tolist(), high.tolist()),
            Line(query, values.mean(0).tolist(), "mean of heads"),
        ]
        panels.append(Panel(marks, Axis("query (tokens)", dim="query"), Axis(label, limits=(-0.02, 1.02)), label))
    return Figure(
        name="curves",
        title="How attention shifts along the text",
        panels=panels,
        caption=(
            f"Each point is the mean over one of {len(query)} bins of queries; the band holds 80 % of all heads. Grey: "
            f"a head that attends evenly to all it sees.{_note(data)}"
        ),
        alt="Curves over the query's position of the shares on sinks, recent and far tokens, and of entropy.",
        columns=2,
    )


def _heads(data: xr.DataTree) -> Figure:
    profile = data["profile"].to_dataset()
    query = _middles(profile, "query")
    heads = profile.sizes["head"]
    rows = profile.sizes["layer"] * heads
    step = max(1, -(-rows * len(query) // CELLS))
    kept = np.arange(0, rows, step)
    names = [f"{int(profile['layer'][row // heads])}.{row % heads}" for row in kept]
    panels = []
    for name, label in SHARES.items():
        values = profile[name].values.reshape(rows, len(query))
        mean = np.add.reduceat(values, kept, axis=0) / np.diff([*kept, rows])[:, None]
        ticks = list(range(0, len(kept), max(1, len(kept) // 12)))
        y = Axis("layer.head", ticks, [names[tick] for tick in ticks], reversed=True)
        marks = [Heatmap(mean, query, list(range(len(kept))), label, limits=(0.0, 1.0), pooled=_pooled(step))]
        panels.append(Panel(marks, Axis("query (tokens)", dim="query"), y, label))
    return Figure(
        name="heads",
        title="Every head along the text",
        panels=panels,
        caption=f"One row a head, one column a bin of queries. {_pooled(step)}{_note(data)}".strip(),
        alt="Heat maps with one row a head and one column a bin of queries, for each share of attention and entropy.",
        columns=2,
    )


def _pooled(step: int) -> str:
    return "" if step == 1 else f"Each row is the mean of {step} neighbouring heads."


def _received(data: xr.DataTree) -> Figure:
    received = data["received"].to_dataset()
    positions = data["positions"].to_dataset()
    key = _middles(received, "key")
    width = int(received["last_key"][0]) - int(received["key"][0]) + 1
    mean = received["received"].mean(("layer", "head")).values
    most = received["received_max"].max(("layer", "head")).values
    floor = 1e-4
    first = positions["received"].isel(example=0).values
    best = np.sort(np.argsort(-first, kind="stable")[:NAMED])
    words = positions["first_text"].values
    marks: list[Line | Scatter] = [
        Line(key, received["uniform_received"].values.tolist(), "uniform attention", secondary=True),
        Line(key, np.maximum(most, floor).tolist(), "the head and key that get most"),
        Line(key, np.maximum(mean, floor).tolist(), "mean of heads and keys"),
        Scatter(
            best.tolist(),
            np.maximum(first[best], floor).tolist(),
            "heaviest tokens of the first text",
            names=[_token(str(words[at])) for at in best],
        ),
    ]
    binned = "" if width <= 1 else f" Bins of {width} keys: one curve shows their mean, the other their maximum."
    return Figure(
        name="received",
        title="The attention that each place of the text receives",
        panels=[Panel(marks, Axis("key (tokens)"), Axis("attention received (queries)", log=True))],
        caption=(
            "Attention summed over all queries: 1 is as much as one query has to give. Grey: attention spread evenly. "
            f"Nothing below {floor:g} is drawn.{binned}{_note(data)}"
        ),
        alt="Attention received along the text on a logarithmic axis, mean and maximum; the heaviest tokens are named.",
    )


def _flow(data: xr.DataTree) -> Figure:
    segments = data["segments"].to_dataset()
    same = bool(data.attrs["same_segments"])
    flow = segments["flow"].mean("example") if same else segments["flow"].isel(example=0)
    even = segments["uniform_flow"].mean("example") if same else segments["uniform_flow"].isel(example=0)
    used = np.isfinite(even.values).all(axis=1)
    names = [str(name) for name in segments["label"].values[0][used]]
    grid = (used[:, None] & used).nonzero()
    count = int(used.sum())
    layers = flow["layer"].values
    third = np.array_split(np.arange(len(layers)), min(3, len(layers)))
    places = list(range(count))
    step = max(1, count // 8)
    across = Axis("segment looked at", places[::step], [str(place + 1) for place in places[::step]])
    down = Axis("segment of the query", places, names, reversed=True)
    parts = [flow.values[part].mean(0)[grid].reshape(count, count) for part in third]
    parts.append(even.values[grid].reshape(count, count))
    # the first row is 1 by definition, and would hide the others
    most = max((float(part[1:].max()) for part in parts if count > 1), default=1.0)

    def panel(values: np.ndarray, title: str) -> Panel:
        cells = np.where(np.tri(count, dtype=bool), values, np.nan)
        return Panel([Heatmap(cells, places, places, "share of attention", limits=(0.0, most))], across, down, title)

    titles = [
        f"layers {layers[part[0]]} to {layers[part[-1]]}" if len(part) > 1 else f"layer {layers[part[0]]}"
        for part in third
    ]
    panels = [panel(values, title) for values, title in zip(parts, [*titles, "uniform attention"], strict=True)]
    which = "mean over texts" if same else "of the first text"
    return Figure(
        name="flow",
        title="From which part of the text to which",
        panels=panels,
        caption=(
            f"Mean attention of the queries in one segment on the keys of another, over heads and layers, {which}. "
            f"Rows sum to one; the colours end at {most:.2f}, which the first row is above."
        ),
        alt="Triangular grids of segments by segments: how much attention goes from each part to each earlier one.",
        columns=2,
    )


def _top(data: xr.DataTree) -> Figure:
    top = data["top"].to_dataset().isel(example=0)
    panels = []
    for row in range(min(top.sizes["query"], 6)):
        one = top.isel(query=row)
        seen = one["joint_key"].values >= 0
        keys, weights = one["joint_key"].values[seen], one["joint_weight"].values[seen]
        names = [
            f"{_token(str(word))} · {key}" for word, key in zip(one["joint_token"].values[seen], keys, strict=True)
        ]
        x = list(range(len(names)))
        title = f"query {int(top['query'][row])}: {_token(str(one['query_token'].values))}"
        panels.append(
            Panel(
                [Bars(x, weights.tolist(), "mean of heads", names=names)],
                Axis("key", x, names),
                Axis("attention"),
                title,
            )
        )
    return Figure(
        name="top_keys",
        title="The keys that chosen queries look at most",
        panels=panels,
        caption=(
            f"The first text; mean over all heads of the attention on a key, counted where the key is among the "
            f"{top.sizes['rank']} heaviest of a head. Beside each token its position. Every head: tables/top_keys.csv."
        ),
        alt="Bars of the attention that single queries pay to their heaviest keys, which are named.",
    )


def _middles(data: xr.Dataset, axis: str) -> Sequence[float]:
    return ((data[axis].values + data[f"last_{axis}"].values) / 2).tolist()


def _token(text: str) -> str:
    """A token as it can be read on an axis."""
    return shorten(escape_whitespace(text), 24)
