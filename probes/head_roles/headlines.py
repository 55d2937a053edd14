"""The numbers of head roles that a person would quote, each with its interval and its control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.records.record import Control, Headline

from . import statistics
from .statistics import Interval

if TYPE_CHECKING:
    import xarray as xr

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
    found = statistics.bootstrap(score, share, rng) if len(score) else None
    by_chance = statistics.bootstrap(chance, share, rng) if len(chance) and np.isfinite(chance).all() else None
    control = None if by_chance is None else _control(ORDER, by_chance, len(chance))
    return _headline("retrieval_head_share", found, len(score), method, "share of heads", control)


def recall(curve: xr.Dataset, unseen: Interval, top: int, how: str, n: int, sets: int) -> list[Headline]:
    """Needle recall with nothing, the top heads and random heads ablated, and the difference of the last two.

    `unseen` is the recall of the same answers from prompts whose needle was taken out.
    """
    here = curve.sel(count=top)

    def interval(name: str, at: xr.Dataset = here) -> Interval:
        return Interval(*(float(at[f"{name}{end}"]) for end in ("", "_low", "_high")))

    none = interval("top", curve.sel(count=0))
    randomly = f"{sets} random sets of {top}, matched per layer"
    cut = f"{how} ablation at every position"
    return [
        _headline(
            "needle_recall",
            none,
            n,
            f"{SAID}; Wilson interval",
            control=_control("the same questions with the needle taken out", unseen, n),
        ),
        _headline(
            "needle_recall_top_ablated",
            interval("top"),
            n,
            f"{SAID}; top {top} heads of the selection needles, {cut}; Wilson interval",
            control=_control(randomly, interval("random"), n),
        ),
        _headline(
            "needle_recall_random_ablated",
            interval("random"),
            n,
            f"{SAID}; mean over {randomly}, {cut}; bootstrap over needles and sets, at least as wide as Wilson's",
            control=_control("nothing ablated", none, n),
        ),
        _headline(
            "needle_recall_lost_to_top",
            interval("lost"),
            n,
            f"recall with {randomly}, minus recall with the top {top}, on the same needles; {cut}; bootstrap over "
            "needles and sets, at least as wide as Newcombe's",
            control=_control("no difference", Interval(0.0, 0.0, 0.0), n),
        ),
    ]


def _headline(
    name: str,
    found: Interval | None,
    n: int,
    method: str,
    unit: str = "share of needles",
    control: Control | None = None,
) -> Headline:
    value, low, high = found or (None, None, None)
    return Headline(
        name=name,
        value=value,
        low=low,
        high=high,
        level=statistics.LEVEL,
        n=n,
        unit=unit,
        split="held-out",
        method=method,
        control=control,
    )


def _control(name: str, found: Interval, n: int) -> Control:
    return Control(name=name, value=found.value, low=found.low, high=found.high, n=n)
