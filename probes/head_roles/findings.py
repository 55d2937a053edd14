"""What a run found: data by the schema of results, with checks and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.formatting import percent
from workbench.probe.contract import Outcome
from workbench.probe.headline_builders import wide_intervals
from workbench.probe.statistics import Interval, bootstrap_mean, mean_bounds, newcombe, wider, wilson
from workbench.records.record import Check
from workbench.records.results import variable

from . import headlines
from .attention_loss import Head
from .config import HeadRolesConfig
from .needles import Needles

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from workbench.probe.contract import RunContext


REPEATED = ("induction", "previous_token", "duplicate_token")
"""Scores on repeated random tokens."""


@dataclass(frozen=True)
class Parts:
    """The datasets of a run, all heads ranked on the selection needles, and how many of them are the top set."""

    selection: xr.Dataset
    held_out: xr.Dataset
    repeats: xr.Dataset
    ablation: xr.Dataset
    order: list[Head]
    top: int


@dataclass(frozen=True)
class Recall:
    """Needle recall of each held-out needle: with nothing, the top heads, and random heads ablated."""

    none: np.ndarray
    """`[example]`"""
    top: np.ndarray
    """`[example]`"""
    random: np.ndarray
    """`[sample, example]`"""


def recall_of(ablation: xr.Dataset, count: int, how: str) -> Recall:
    """The recall with sets of one size and one kind of ablation."""
    kind, size, way = (ablation[name].values for name in ("set", "count", "how"))
    recall = ablation["recall"].values
    of = (size == count) & (way == how)
    return Recall(recall[kind == "none"][0], recall[of & (kind == "top")][0], recall[of & (kind == "random")])


def outcome(parts: Parts, needles: Needles, config: HeadRolesConfig, context: RunContext) -> Outcome:
    """Put a run's parts together."""
    import xarray as xr

    heads = _heads(parts, config, context)
    curve = _curve(parts, config, context)
    score, chance = counted(parts.held_out, config), counted(parts.held_out, config, "chance")
    share = headlines.retrieval_head_share(score, chance, config, context.rng("intervals of the share"))
    answered = np.concatenate(
        [each["counted"].sel(mode="generated").values for each in (parts.selection, parts.held_out)]
    )
    n, sets = parts.ablation.sizes["example"], config.random_sets
    unseen = _wilson(parts.ablation["recall_without_needle"].values)
    tree = xr.DataTree.from_dict(
        {
            "/heads": heads,
            "/held_out": parts.held_out,
            "/selection": parts.selection,
            "/repeats": parts.repeats,
            "/ablation": parts.ablation,
            "/curve": curve,
        }
    )
    tree.attrs.update(
        threshold=config.threshold, mode=config.mode, rule=config.rule, ablation=config.ablation, top=parts.top
    )
    return Outcome(
        data=tree,
        headlines=[share, *headlines.recall(curve, unseen, parts.top, config.ablation, n, sets)],
        checks=_checks(parts, needles),
        limits=_limits(parts, config),
        sources=needles.uses(len(answered), int(answered.sum()), int((~answered).sum())),
        tables={"heads": _table(heads)},
    )


def counted(scores: xr.Dataset, config: HeadRolesConfig, name: str = "copy") -> np.ndarray:
    """Scores `[example, layer, head]` of the trials that count, in the mode and by the rule that the settings name."""
    chosen = scores.sel(mode=config.mode)
    values = chosen[name].sel(rule=config.rule) if name == "copy" else chosen[name]
    return values.values[chosen["counted"].values].astype(np.float64)


def _heads(parts: Parts, config: HeadRolesConfig, context: RunContext) -> xr.Dataset:
    """One value a head: scores, intervals, rank, and whether it is named a retrieval head."""
    import xarray as xr

    shape = (parts.held_out.sizes["layer"], parts.held_out.sizes["head"])
    nothing = np.full(shape, np.nan)
    score, chance = counted(parts.held_out, config), counted(parts.held_out, config, "chance")
    select = counted(parts.selection, config)
    rng = context.rng("intervals of heads")
    low, high = mean_bounds(score, rng) if len(score) else (nothing, nothing)
    above, _ = mean_bounds(score - np.nan_to_num(chance), rng) if len(score) else (nothing, nothing)
    held = score.mean(0) if len(score) else nothing
    named = (held >= config.threshold) & (above > 0) & (len(select) > 0)
    named &= (select.mean(0) if len(select) else nothing) >= config.threshold
    rank = np.empty(shape, np.int64)
    for place, (layer, head) in enumerate(parts.order):
        rank[layer, head] = place + 1
    dims = ("layer", "head")
    variables = {
        "copy_score": (held, "share", "retrieval score on the held-out needles"),
        "copy_low": (low, "share", "lower end of its 95 % interval"),
        "copy_high": (high, "share", "upper end of its 95 % interval"),
        "copy_chance": (
            chance.mean(0) if len(chance) else nothing,
            "share",
            "the same with the answer's tokens in a wrong order",
        ),
        "copy_selection": (
            select.mean(0) if len(select) else nothing,
            "share",
            "retrieval score on the selection needles",
        ),
        "named": (named, "", "retrieval head: above the threshold on both sets of needles, and above chance"),
        "rank": (rank, "", "place by the retrieval score on the selection needles, from 1"),
    }
    heads = xr.Dataset(
        {name: variable(dims, values, units, text) for name, (values, units, text) in variables.items()},
        coords={"layer": np.arange(shape[0]), "head": np.arange(shape[1])},
    )
    every = parts.held_out["copy"].where(parts.held_out["counted"]).mean("example")
    heads["copy_all"] = every.assign_attrs(
        units="share", description="retrieval score on held-out needles, by mode and rule"
    )
    for name, values in parts.repeats.data_vars.items():
        heads[name] = values
    return heads


def _table(heads: xr.Dataset) -> pd.DataFrame:
    """One row a head, the highest retrieval score first."""
    flat = heads.drop_vars("copy_all")
    for repeat in heads["repeat"].values:
        for name in REPEATED:
            flat[f"{name}_{repeat}"] = heads[name].sel(repeat=repeat, drop=True)
    table = flat.drop_vars([*REPEATED, "repeat", "period", "mode", "rule"]).to_dataframe().reset_index()
    return table.sort_values("copy_score", ascending=False, kind="stable")


def _curve(parts: Parts, config: HeadRolesConfig, context: RunContext) -> xr.Dataset:
    """Recall over the number of ablated heads, with intervals; with none ablated, `top` and `random` are the same."""
    import xarray as xr

    rng = context.rng("intervals of recall")
    counts = sorted({int(count) for count in parts.ablation["count"].values})
    rows: list[tuple[Interval, Interval, Interval]] = []
    for count in counts:
        if count == 0:
            none = _wilson(recall_of(parts.ablation, parts.top, config.ablation).none)
            rows.append((none, none, Interval(0.0, 0.0, 0.0)))
            continue
        recall = recall_of(parts.ablation, count, config.ablation)
        top, mean = _wilson(recall.top), _wilson(recall.random.mean(0))
        random = wider(bootstrap_mean(recall.random, rng), mean)
        lost = bootstrap_mean(recall.random - recall.top, rng)
        rows.append((top, random, wider(lost, newcombe(mean, top))))
    meaning = {
        "top": "recall with the top heads ablated",
        "random": "recall with random heads ablated, mean over sets",
        "lost": "recall with random heads ablated minus recall with the top heads ablated",
    }
    ends = {"": "", "_low": ", lower end of the 95 % interval", "_high": ", upper end of the 95 % interval"}
    return xr.Dataset(
        {
            f"{name}{end}": variable(
                "count", np.array([row[column][part] for row in rows]), "share of needles", f"{text}{ends[end]}"
            )
            for column, (name, text) in enumerate(meaning.items())
            for part, end in enumerate(ends)
        },
        coords={"count": counts},
    )


def _wilson(recalled: np.ndarray) -> Interval:
    """Wilson's interval of a share of needles, `[example]`; where each is a mean over sets it is on the safe side."""
    return wilson(float(recalled.mean()), len(recalled))


def _checks(parts: Parts, needles: Needles) -> list[Check]:
    selection, held_out = (set(parts.selection["key"].values), set(parts.held_out["key"].values))
    answers = [{needle.answer for needle in each} for each in (needles.selection, needles.held_out)]
    shared = len(selection & held_out) + len(answers[0] & answers[1])
    trials = len(selection) + len(held_out)
    names = ("set", "count", "heads", "borrowed")
    sets = list(zip(*(parts.ablation[name].values.tolist() for name in names), strict=True))
    tops = {count: set(heads.split()) for kind, count, heads, _ in sets if kind == "top"}
    drawn = [(count, set(heads.split()), borrowed) for kind, count, heads, borrowed in sets if kind == "random"]
    overlap = sum(len(heads & tops[count]) for count, heads, _ in drawn)
    uneven = sum(len(heads) != count for count, heads, _ in drawn)
    return [
        Check(
            name="every needle's tokens are found exactly",
            passed=True,
            detail=f"{trials} needles placed by character offsets; the answer's tokens are the same in both places",
        ),
        Check(
            name="selection and scoring share no needle",
            passed=shared == 0,
            detail=f"{shared} keys or answers in common",
        ),
        Check(
            name="random sets are as large as the top set and share no head with it",
            passed=overlap == 0 and uneven == 0,
            detail=(
                f"{len(drawn)} random sets, of as many heads a layer; {sum(borrowed for *_, borrowed in drawn)} of "
                f"{sum(count for count, *_ in drawn)} heads came from the nearest layer with a head left"
            ),
        ),
    ]


def _limits(parts: Parts, config: HeadRolesConfig) -> list[str]:
    said = [
        "a retrieval head is one that looks at the token it helps to write while copying; heads that retrieve in other "
        "ways (paraphrase, reasoning) are not seen",
        "needles are short facts of one form in plain text: a low score here does not show that a head never retrieves",
        "a head whose ablation lowers recall is needed for this task in this model; it need not be what reads the fact",
    ]
    recall = recall_of(parts.ablation, parts.top, config.ablation).none.mean()
    if recall < 0.5:
        said.append(
            f"the model recalls only {percent(recall)} of the needles by itself, so ablation has little to take away"
        )
    n = parts.held_out.sizes["example"]
    said += wide_intervals(n, "held-out needles")
    if config.mode == "generated":
        dropped = int((~parts.held_out["counted"].sel(mode="generated").values).sum())
        said.append(f"{dropped} of {n} held-out needles were not answered and do not count, so easy needles weigh more")
    return said
