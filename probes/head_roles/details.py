"""One head among all and on every needle; one needle in every head; and all heads by two scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Figure, Heatmap, Panel, ReferenceLine, Scatter, Violin
from workbench.figures.text import escape_control
from workbench.probe import head_scatter
from workbench.probe.explore import Details, SelectableDim

from .findings import REPEATED
from .headlines import ORDER

if TYPE_CHECKING:
    import xarray as xr

COPY = "retrieval score"
WORDS = {"induction": "induction", "previous_token": "previous", "duplicate_token": "duplicate"}
"""Short names of the scores, which stand below an axis."""


def coordinates(data: xr.DataTree) -> list[SelectableDim]:
    """A head, the highest scored one first; a held-out needle; and two scores that heads are compared by."""
    heads, held_out = data["heads"].to_dataset(), data["held_out"].to_dataset()
    score = np.nan_to_num(heads["copy_score"].values, nan=-1.0)
    layer, head = np.unravel_index(int(score.argmax()), score.shape)
    scores = _scores(data)
    x = next((label for label in scores.values if label.startswith("induction")), COPY)
    return [
        SelectableDim("layer", heads["layer"].values.tolist(), int(heads["layer"][layer])),
        SelectableDim("head", heads["head"].values.tolist(), int(heads["head"][head])),
        SelectableDim(
            "needle",
            held_out["example"].values.tolist(),
            int(held_out["example"][0]),
            [escape_control(str(key)) for key in held_out["key"].values],
        ),
        *head_scatter.coordinates(scores, x, COPY),
    ]


def details(data: xr.DataTree, chosen: Mapping[str, int]) -> Details:
    """The scores of a head beside all others, its retrieval score on each needle, and all heads on one needle."""
    layer, head, needle = chosen["layer"], chosen["head"], chosen["needle"]
    heads = data["heads"].to_dataset()
    one = heads.sel(layer=layer, head=head)
    said = "is named a retrieval head" if bool(one["named"]) else "is not named a retrieval head"
    note = (
        f"Head {layer}.{head} has the retrieval score {float(one['copy_score']):.2f} on the held-out needles "
        f"and {said}; on the selection needles it comes at place {int(one['rank'])} of {heads['named'].size}."
    )
    figures = [
        _among(data, layer, head),
        head_scatter.scatter(_scores(data), chosen),
        _needles(data, layer, head),
        _needle(data, layer, head, needle),
    ]
    return Details(figures, note=note)


def _scores(data: xr.DataTree) -> head_scatter.Scores:
    """Every score of every head."""
    heads = data["heads"].to_dataset()
    values = {
        COPY: heads["copy_score"].values,
        "retrieval score on selection needles": heads["copy_selection"].values,
        "retrieval score by chance": heads["copy_chance"].values,
    }
    for name in REPEATED:
        for repeat in heads["repeat"].values:
            values[f"{name.replace('_', '-')} score, {repeat}"] = heads[name].sel(repeat=repeat).values
    return head_scatter.Scores(heads["layer"].values.tolist(), heads["head"].values.tolist(), values)


def _among(data: xr.DataTree, layer: int, head: int) -> Figure:
    heads = data["heads"].to_dataset()
    one = heads.sel(layer=layer, head=head)
    columns: list[tuple[str, np.ndarray, float]] = [
        (label, heads[name].values.ravel(), float(one[name]))
        for name, label in (
            ("copy_score", "copy"),
            ("copy_selection", "copy, selection"),
            ("copy_chance", "copy, chance"),
        )
    ]
    for name in REPEATED:
        for repeat in heads["repeat"].values:
            all_of, own = heads[name].sel(repeat=repeat).values.ravel(), float(one[name].sel(repeat=repeat))
            columns.append((f"{WORDS[name]} {repeat}", all_of, own))
    x = list(range(len(columns)))
    labels, samples, own_values = zip(*columns, strict=True)
    return Figure(
        name="head",
        title=f"Head {layer}.{head} among all heads",
        panels=[
            Panel(
                [
                    Violin(x, [values[np.isfinite(values)].tolist() for values in samples], "all heads"),
                    Scatter(x, list(own_values), f"head {layer}.{head}", names=list(labels)),
                ],
                Axis("score", x, list(labels)),
                Axis("value of the score", limits=(-0.02, 1.02)),
            )
        ],
        caption=(
            f"Retrieval scores on held-out and on selection needles, by chance ({ORDER}), and induction, "
            "previous-token and duplicate-token scores on near and far repeats. Each shape is the distribution of "
            "all heads."
        ),
        alt=f"Distributions of eight or more scores over all heads, with the values of head {layer}.{head} marked.",
    )


def _needles(data: xr.DataTree, layer: int, head: int) -> Figure:
    scored = _of_headlines(data).sel(layer=layer, head=head)
    values, chance = scored["copy"].values, scored["chance"].values
    recalled, counted = scored["correct"].values.astype(bool), scored["counted"].values.astype(bool)
    needle, keys = (
        scored["example"].values,
        [escape_control(str(key)) for key in scored["key"].values],
    )

    def points(which: np.ndarray, label: str) -> list[Scatter]:
        at = np.flatnonzero(which & np.isfinite(values))
        if not at.size:
            return []
        return [Scatter(needle[at].tolist(), values[at].tolist(), label, names=[keys[place] for place in at])]

    seen = np.flatnonzero(np.isfinite(chance))
    return Figure(
        name="needles",
        title=f"Head {layer}.{head} on every held-out needle",
        panels=[
            Panel(
                [
                    Scatter(needle[seen].tolist(), chance[seen].tolist(), ORDER, secondary=True),
                    *points(recalled & counted, "recalled"),
                    *points(~recalled & counted, "not recalled"),
                    *points(~counted, "not counted"),
                    ReferenceLine(float(data.attrs["threshold"]), "y", "threshold"),
                ],
                Axis("needle", dim="needle"),
                Axis("retrieval score", limits=(-0.02, 1.02)),
            )
        ],
        caption=(
            "One point a needle: the share of the answer's tokens that the head looks at while the model is due to "
            "write them. Recalled: every token of the answer is the model's first choice."
        ),
        alt=f"Retrieval score of head {layer}.{head} on each held-out needle, recalled ones told from others.",
    )


def _needle(data: xr.DataTree, layer: int, head: int, needle: int) -> Figure:
    scored = _of_headlines(data).sel(example=needle)
    depth, away, tokens = float(scored["depth"]), int(scored["away"]), int(scored["tokens"])
    key = escape_control(str(scored["key"].values))
    return Figure(
        name="needle",
        title=f"Needle {needle}, {key}: {'recalled' if bool(scored['correct']) else 'not recalled'}",
        panels=[
            Panel(
                [
                    Heatmap(
                        scored["copy"].values,
                        scored["head"].values.tolist(),
                        scored["layer"].values.tolist(),
                        "retrieval score",
                        limits=(0.0, 1.0),
                        outlined=[(layer, head)],
                    )
                ],
                Axis("head", dim="head"),
                Axis("layer", dim="layer"),
            )
        ],
        caption=(
            f"Every head on this one needle, which lies {away:,} tokens before its answer, at depth {depth:.2f} of "
            f"{tokens:,} tokens. The chosen head is outlined."
        ),
        alt=(
            f"Grid of layers and heads coloured by the retrieval score on needle {needle}; "
            f"head {layer}.{head} is outlined."
        ),
    )


def _of_headlines(data: xr.DataTree) -> xr.Dataset:
    """Held-out needles in the mode and by the rule of this run's headlines."""
    scored = data["held_out"].to_dataset()
    return scored.sel(mode=str(data.attrs["mode"]), rule=str(data.attrs["rule"]))
