"""One head along the text, what it attends to, and the text itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Bars, Figure, Line, Panel, Tokens
from workbench.figures.text import escape_whitespace, shorten
from workbench.formatting import percent
from workbench.probe import head_scatter
from workbench.probe.explore import Details, LongText, Measure, SelectableDim

from .figures import SHARES
from .profile import UNITS

if TYPE_CHECKING:
    import xarray as xr

FLOOR = 1e-4
"""Attention below it is not drawn."""
AROUND = 12
"""Tokens shown on either side of a heavy key."""
QUOTED = 6
"""Heavy keys that are quoted with the tokens around them."""


def coordinates(data: xr.DataTree) -> list[SelectableDim]:
    """A head, the one that looks furthest first; a query whose heaviest keys were kept; a text; and two scores."""
    heads = data["heads"].to_dataset()
    far = heads["far_mass"].sel(condition="text").mean("example").values
    layer, head = np.unravel_index(int(np.nan_to_num(far, nan=-1.0).argmax()), far.shape)
    found = [
        SelectableDim("layer", heads["layer"].values.tolist(), int(heads["layer"][layer])),
        SelectableDim("head", heads["head"].values.tolist(), int(heads["head"][head])),
    ]
    queries = data["top"].to_dataset()["query"].values.tolist()
    if len(queries) > 0:
        context = int(data.attrs["context"])
        within = [query for query in queries if not context or query < context]
        found.append(SelectableDim("query", queries, int((within or queries)[-1])))
    texts = heads["example"].values.tolist()
    if len(texts) > 1:
        found.append(SelectableDim("text", texts, int(texts[0])))
    return [*found, *head_scatter.coordinates(_scores(data), SHARES["far_mass"], SHARES["normalised_entropy"])]


def details(data: xr.DataTree, chosen: Mapping[str, int]) -> Details:
    """A head's shares along the text, what each place receives from it, and a query's heaviest keys."""
    layer, head, text = chosen["layer"], chosen["head"], chosen.get("text", 0)
    figures = [
        _along(data, layer, head),
        head_scatter.scatter(_scores(data), chosen),
        _received(data, layer, head),
    ]
    looks = _looks(data, layer, head, text)
    words = _words(data, text)
    if (query := chosen.get("query")) is not None:
        links = looks[query]
        figures.append(_keys(words, links, layer, head, query))
        figures.append(_quotes(words, links, layer, head, query))
    means = data["heads"].to_dataset().sel(condition="text", layer=layer, head=head).mean("example")
    sink, recent, far = (percent(float(means[name])) for name in ("sink_mass", "recent_mass", "far_mass"))
    note = (
        f"Head {layer}.{head} gives {sink} of its attention to sinks, {recent} to recent tokens and {far} to what lies "
        "between (mean over the scored queries)."
    )
    return Details(figures, _text(data, words, layer, head, text, query, looks), note)


def _scores(data: xr.DataTree) -> head_scatter.Scores:
    """The statistics of every head, means over the scored queries of all texts, of shuffled ones too if there are."""
    heads = data["heads"].to_dataset().mean("example")
    values = {}
    for condition in heads["condition"].values:
        one = heads.sel(condition=condition)
        for name, (unit, _) in UNITS.items():
            label = SHARES.get(name, name) + ("" if condition == "text" else f", {condition}")
            label += "" if name in SHARES else f" ({unit})"
            values[label] = one[name].values
    return head_scatter.Scores(heads["layer"].values.tolist(), heads["head"].values.tolist(), values)


def _along(data: xr.DataTree, layer: int, head: int) -> Figure:
    profile = data["profile"].to_dataset()
    query = _middles(profile, "query")
    panels = []
    for name, label in SHARES.items():
        marks = [
            Line(query, profile[f"uniform_{name}"].values.tolist(), "uniform attention", secondary=True),
            Line(query, profile[name].sel(layer=layer, head=head).values.tolist(), "this head"),
            Line(query, profile[name].mean(("layer", "head")).values.tolist(), "mean of all heads"),
        ]
        panels.append(Panel(marks, Axis("query (tokens)", dim="query"), Axis(label, limits=(-0.02, 1.02)), label))
    return Figure(
        name="along",
        title=f"Head {layer}.{head} along the text",
        panels=panels,
        caption="Mean over texts and over one bin of queries a point. Grey: a head that attends evenly to all it sees.",
        alt=f"Shares of attention of head {layer}.{head} on sinks, recent and far tokens, and entropy, over the query.",
        columns=2,
    )


def _received(data: xr.DataTree, layer: int, head: int) -> Figure:
    received = data["received"].to_dataset()
    key = _middles(received, "key")
    one = received.sel(layer=layer, head=head)
    mean = received["received"].mean(("layer", "head")).values
    width = int(received["last_key"][0]) - int(received["key"][0]) + 1
    binned = "" if width <= 1 else f" Bins of {width} keys: their mean, and their largest."
    marks = [
        Line(key, received["uniform_received"].values.tolist(), "uniform attention", secondary=True),
        Line(key, np.maximum(one["received_max"].values, FLOOR).tolist(), "this head, largest"),
        Line(key, np.maximum(one["received"].values, FLOOR).tolist(), "this head"),
        Line(key, np.maximum(mean, FLOOR).tolist(), "mean of all heads"),
    ]
    return Figure(
        name="head_received",
        title=f"What each place receives from head {layer}.{head}",
        panels=[Panel(marks, Axis("position (tokens)"), Axis("attention received (queries)", log=True))],
        caption=f"Attention summed over all queries. Nothing below {FLOOR:g} is drawn.{binned}",
        alt=f"Attention that each place of the text receives from head {layer}.{head}, on a logarithmic axis.",
    )


def _looks(data: xr.DataTree, layer: int, head: int, text: int) -> dict[int, list[tuple[int, float]]]:
    """The heaviest keys of every kept query of a text, with their weights, the heaviest first."""
    top = data["top"].to_dataset()[["key", "weight"]].sel(layer=layer, head=head, example=text)
    top = top.transpose("query", "rank")
    found = {}
    for query, keys, weights in zip(top["query"].values, top["key"].values, top["weight"].values, strict=True):
        pairs = [(key, weight) for key, weight in zip(keys.tolist(), weights.tolist(), strict=True) if key >= 0]
        found[int(query)] = sorted(pairs, key=lambda pair: -pair[1])
    return found


def _keys(words: Sequence[str], links: Sequence[tuple[int, float]], layer: int, head: int, query: int) -> Figure:
    x = list(range(len(links)))
    names = [f"{shorten(escape_whitespace(words[key]), 16)} · {key}" for key, _ in links]
    kept = sum(weight for _, weight in links)
    return Figure(
        name="keys",
        title=f"The keys that query {query} looks at most in head {layer}.{head}",
        panels=[
            Panel(
                [Bars(x, [weight for _, weight in links], "attention", names=names)],
                Axis("key", x, names),
                Axis("attention", limits=(0.0, 1.05 * max([weight for _, weight in links], default=1.0))),
            )
        ],
        caption=(
            f"Query {query} is {escape_whitespace(words[query])}. These {len(links)} keys hold {percent(kept)} of its "
            "attention. Beside each token its position."
        ),
        alt=f"Bars of the attention that query {query} pays to its heaviest keys in head {layer}.{head}.",
    )


def _quotes(words: Sequence[str], links: Sequence[tuple[int, float]], layer: int, head: int, query: int) -> Figure:
    weights = dict(links)
    most = max(weights.values(), default=1.0)
    panels = []
    for key, weight in links[:QUOTED]:
        start, end = max(0, key - AROUND), min(query + 1, key + AROUND + 1)
        panels.append(
            Panel(
                [
                    Tokens(
                        list(words[start:end]),
                        [weights.get(place, 0.0) for place in range(start, end)],
                        "weight",
                        (0.0, most),
                    )
                ],
                Axis(""),
                Axis(""),
                f"key {key}: {percent(weight)}",
            )
        )
    return Figure(
        name="quotes",
        title=f"What stands around the heaviest keys of query {query}",
        panels=panels,
        caption=(
            f"Up to {AROUND} tokens on either side; keys that are not among the {len(links)} heaviest of head "
            f"{layer}.{head} count as 0."
        ),
        alt="Stretches of the text around single keys, shaded by the attention on them.",
    )


def _words(data: xr.DataTree, text: int) -> list[str]:
    """The tokens of a text; of all but the first only their numbers in the vocabulary were kept."""
    positions = data["positions"].to_dataset()
    if text == int(positions["example"][0]):
        return [str(word) for word in positions["first_text"].values]
    return [f"[{number}]" for number in positions["token_id"].sel(example=text).values.tolist()]


def _text(
    data: xr.DataTree,
    words: Sequence[str],
    layer: int,
    head: int,
    text: int,
    query: int | None,
    looks: Mapping[int, Sequence[tuple[int, float]]],
) -> LongText:
    positions, received = data["positions"].to_dataset(), data["received"].to_dataset()
    widths = received["last_key"].values - received["key"].values + 1
    own = np.repeat(received["received"].sel(layer=layer, head=head).values, widths)
    width = int(widths[0])
    each = "" if width == 1 else f", mean of {width} keys"
    only = "" if text == int(positions["example"][0]) else " Of this text the run kept the tokens' numbers alone."
    return LongText(
        title="The text, token by token",
        caption=f"Attention that each token receives, summed over all queries.{only}",
        tokens=words,
        measures=[
            Measure("received, mean of all heads", positions["received"].sel(example=text).values, log=True),
            Measure(f"received from head {layer}.{head}{each}, mean over texts", own, log=True),
        ],
        origin=query,
        looks=looks,
    )


def _middles(data: xr.Dataset, axis: str) -> Sequence[float]:
    return ((data[axis].values + data[f"last_{axis}"].values) / 2).tolist()
