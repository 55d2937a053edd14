"""The numbers of head roles that a person would quote, each with its interval and its control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.probe import headline_builders as build
from workbench.probe.statistics import Interval, bootstrap

if TYPE_CHECKING:
    import xarray as xr

    from workbench.records.record import Headline

    from .config import HeadRolesConfig

MODE_WORDS = {"teacher-forced": "following the true answer", "generated": "following the model's own answer"}
ORDER = "the answer's tokens in a wrong order"
SAID = "share of needles with every answer token the first choice"


def retrieval_head_share(
    score: np.ndarray, chance: np.ndarray, config: HeadRolesConfig, rng: np.random.Generator
) -> Headline:
    """Share of heads whose mean retrieval score `[example, layer, head]` reaches the threshold."""

    def share(means: np.ndarray) -> np.ndarray:
        return (means >= config.threshold).mean((-2, -1))

    method = (
        f"share of heads with retrieval score at or above {config.threshold:g}, {MODE_WORDS[config.mode]}, "
        f"rule {config.rule!r}; bootstrap over needles"
    )
    found = bootstrap(score, share, rng) if len(score) else None
    by_chance = bootstrap(chance, share, rng) if len(chance) and np.isfinite(chance).all() else None
    control = None if by_chance is None else build.control(ORDER, by_chance, len(chance))
    return build.headline(
        "retrieval_head_share",
        found,
        len(score),
        unit="share of heads",
        split="held-out",
        method=method,
        control=control,
    )


def recall(curve: xr.Dataset, unseen: Interval, top: int, how: str, n: int, sets: int) -> list[Headline]:
    """Needle recall with nothing, the top heads and random heads ablated, and the difference of the last two.

    `unseen` is the recall of the same answers from prompts whose needle was taken out.
    """
    here = curve.sel(count=top)

    def interval(name: str, at: xr.Dataset = here) -> Interval:
        return Interval(*(float(at[f"{name}{end}"]) for end in ("", "_low", "_high")))

    def headline(name: str, found: Interval, method: str, against: str, control: Interval) -> Headline:
        return build.headline(
            f"needle_recall{name}",
            found,
            n,
            unit="share of needles",
            split="held-out",
            method=method,
            control=build.control(against, control, n),
        )

    none = interval("top", curve.sel(count=0))
    randomly = f"{sets} random sets of {top}, matched per layer"
    cut = f"{how} ablation at every position"
    return [
        headline("", none, f"{SAID}; Wilson interval", "the same questions with the needle taken out", unseen),
        headline(
            "_top_ablated",
            interval("top"),
            f"{SAID}; top {top} heads of the selection needles, {cut}; Wilson interval",
            randomly,
            interval("random"),
        ),
        headline(
            "_random_ablated",
            interval("random"),
            f"{SAID}; mean over {randomly}, {cut}; bootstrap over needles and sets, at least as wide as Wilson's",
            "nothing ablated",
            none,
        ),
        headline(
            "_lost_to_top",
            interval("lost"),
            f"recall with {randomly}, minus recall with the top {top}, on the same needles; {cut}; bootstrap over "
            "needles and sets, at least as wide as Newcombe's",
            "no difference",
            Interval(0.0, 0.0, 0.0),
        ),
    ]
