"""What a run found: data by the schema of results, headlines with their controls, checks and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.probe import Outcome
from workbench.record import Check, Control, Headline

from . import statistics
from .config import HeadRolesConfig
from .needles import Needles
from .planting import Head
from .statistics import Interval

if TYPE_CHECKING:
    import xarray as xr

    from workbench.probe import RunContext

MODE_WORDS = {"teacher-forced": "following the true answer", "generated": "following the model's own answer"}


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
    tree = xr.DataTree.from_dict(
        {
            "/heads": heads,
            "/held_out": parts.held_out,
            "/selection": parts.selection,
            "/repeats": parts.repeats,
            "/ablation": parts.ablation,
        }
    )
    tree.attrs.update(
        threshold=config.threshold, mode=config.mode, rule=config.rule, ablation=config.ablation, top=parts.top
    )
    return Outcome(
        data=tree,
        headlines=_headlines(parts, config, context),
        checks=_checks(parts, needles),
        limits=_limits(parts, config),
        sources=needles.uses(parts.held_out.sizes["example"] + parts.selection.sizes["example"]),
        tables={"heads": heads.to_dataframe().reset_index()},
    )


def counted(scores: xr.Dataset, config: HeadRolesConfig, name: str = "copy") -> np.ndarray:
    """Scores `[example, layer, head]` of the trials that count, in the mode and by the rule that the settings name."""
    chosen = scores.sel(mode=config.mode)
    values = chosen[name].sel(rule=config.rule) if name == "copy" else chosen[name]
    return values.values[chosen["counted"].values].astype(np.float64)


def _heads(parts: Parts, config: HeadRolesConfig, context: RunContext) -> xr.Dataset:
    """One value a head: scores, intervals, rank, and whether it is named a copy head."""
    import xarray as xr

    shape = (parts.held_out.sizes["layer"], parts.held_out.sizes["head"])
    nothing = np.full(shape, np.nan)
    score, chance = counted(parts.held_out, config), counted(parts.held_out, config, "chance")
    select = counted(parts.selection, config)
    rng = context.rng("intervals of heads")
    low, high = statistics.means_interval(score, rng) if len(score) else (nothing, nothing)
    above, _ = statistics.means_interval(score - np.nan_to_num(chance), rng) if len(score) else (nothing, nothing)
    held = score.mean(0) if len(score) else nothing
    named = (held >= config.threshold) & (above > 0) & (len(select) > 0)
    named &= (select.mean(0) if len(select) else nothing) >= config.threshold
    rank = np.empty(shape, np.int64)
    for place, (layer, head) in enumerate(parts.order):
        rank[layer, head] = place + 1
    dims = ("layer", "head")
    variables = {
        "copy_score": (held, "share", "copy score on the held-out needles"),
        "copy_low": (low, "share", "lower end of its 95 % interval"),
        "copy_high": (high, "share", "upper end of its 95 % interval"),
        "copy_chance": (chance.mean(0) if len(chance) else nothing, "share", "the same with the answer's tokens in a wrong order"),
        "copy_selection": (select.mean(0) if len(select) else nothing, "share", "copy score on the selection needles"),
        "named": (named, "", "copy head: above the threshold on both sets of needles, and above chance"),
        "rank": (rank, "", "place by the copy score on the selection needles, from 1"),
    }
    heads = xr.Dataset(
        {name: (dims, values, {"units": units, "description": text}) for name, (values, units, text) in variables.items()},
        coords={"layer": np.arange(shape[0]), "head": np.arange(shape[1])},
    )
    every = parts.held_out["copy"].where(parts.held_out["counted"]).mean("example")
    heads["copy_all"] = every.assign_attrs(units="share", description="copy score on held-out needles, by mode and rule")
    for name, values in parts.repeats.data_vars.items():
        heads[name] = values
    return heads


def _headlines(parts: Parts, config: HeadRolesConfig, context: RunContext) -> list[Headline]:
    score, chance = counted(parts.held_out, config), counted(parts.held_out, config, "chance")
    rng = context.rng("intervals")

    def share(means: np.ndarray) -> np.ndarray:
        return (means >= config.threshold).mean((-2, -1))

    lines: list[Headline] = []
    method = f"share of heads with copy score at or above {config.threshold:g}, {MODE_WORDS[config.mode]}, rule {config.rule!r}"
    if len(score):
        found = statistics.bootstrap(score, share, rng)
        control = None
        if np.isfinite(chance).all():
            by_chance = statistics.bootstrap(chance, share, rng)
            control = _control("the answer's tokens in a wrong order", by_chance, len(chance))
        lines.append(_headline("copy_head_share", found, len(score), "share of heads", method + "; bootstrap over needles", control))
    else:
        lines.append(_headline("copy_head_share", None, 0, "share of heads", method + "; no trial counted", None))

    recall = recall_of(parts.ablation, parts.top, config.ablation)
    n = len(recall.none)
    said = "share of needles with every answer token the first choice"
    none, top = statistics.wilson(recall.none), statistics.wilson(recall.top)
    random = statistics.wider(statistics.over_sets(recall.random, rng), statistics.wilson(recall.random.mean(0)))
    sets = f"{len(recall.random)} random sets of {parts.top}, matched per layer"
    cut = f"{config.ablation} ablation at every position"
    randomly = _control(sets, random, n)
    whole = _control("nothing ablated", none, n)
    extra = recall.random.mean(0) - recall.top
    gap = statistics.over_sets(recall.random - recall.top, rng)
    # a difference of two shares has no width where all needles agree; then Wilson's width of the top set is used
    gap = Interval(float(extra.mean()), *(gap[1:] if gap.high > gap.low else (random.low - top.high, random.high - top.low)))
    lines += [
        _headline("needle_recall", none, n, "share of needles", f"{said}; Wilson interval", None),
        _headline(
            "needle_recall_top_ablated", top, n, "share of needles", f"{said}; top {parts.top} heads, {cut}; Wilson interval", randomly
        ),
        _headline(
            "needle_recall_random_ablated",
            random,
            n,
            "share of needles",
            f"{said}; mean over {sets}, {cut}; bootstrap over needles and sets, at least as wide as Wilson's",
            whole,
        ),
        _headline(
            "needle_recall_lost_to_top",
            gap,
            n,
            "share of needles",
            f"recall with random heads minus recall with the top {parts.top} ablated, paired by needle; {cut}; bootstrap over "
            "needles and sets",
            _control("no difference", Interval(0.0, 0.0, 0.0), n),
        ),
    ]
    return lines


def _headline(
    name: str, found: Interval | None, n: int, unit: str, method: str, control: Control | None
) -> Headline:
    value, low, high = found or (None, None, None)
    return Headline(
        name=name, value=value, low=low, high=high, level=statistics.LEVEL, n=n, unit=unit, split="held-out", method=method,
        control=control,
    )  # fmt: skip


def _control(name: str, found: Interval, n: int) -> Control:
    return Control(name=name, value=found.value, low=found.low, high=found.high, n=n)


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
            detail=f"{trials} needles placed by character offsets; the answer has the same tokens in the needle and at the end",
        ),
        Check(name="selection and scoring share no needle", passed=shared == 0, detail=f"{shared} keys or answers in common"),
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
        "a copy head is one that looks at the token it helps to write while copying; heads that retrieve in other ways "
        "(paraphrase, reasoning) are not seen",
        "needles are short facts of one form in plain text: a low score here does not show that a head never retrieves",
        "a head whose ablation lowers recall is needed for this task in this model; it need not be where the fact is read",
    ]
    recall = recall_of(parts.ablation, parts.top, config.ablation).none.mean()
    if recall < 0.5:
        said.append(f"the model recalls only {recall:.0%} of the needles by itself, so ablation has little to take away")
    n = parts.held_out.sizes["example"]
    if n < 30:
        said.append(f"{n} held-out needles: the intervals are wide; the preset full takes more")
    if config.mode == "generated":
        dropped = int((~parts.held_out["counted"].sel(mode="generated").values).sum())
        said.append(f"{dropped} of {n} held-out needles were not answered and do not count, so easy needles weigh more")
    return said
