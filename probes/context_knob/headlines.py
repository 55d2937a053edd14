"""The numbers of the context knob that a person would quote, each with its interval and its control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.probe import headline_builders as build
from workbench.probe.statistics import Interval, bootstrap_entries, bootstrap_share

from .config import ARMS
from .evaluation import separation
from .learning.layer_sweep import choose
from .task.matching import pair_accuracy

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from workbench.probe.contract import RunContext
    from workbench.records.record import Control, Headline

    from .config import ContextKnobConfig
    from .parts import Parts

BY = "both answers of a pair right, {rule} matching of generated answers; bootstrap over subjects, at least Wilson's"


def pairs(scored: xr.Dataset, condition: str, config: ContextKnobConfig) -> np.ndarray:
    """Whether both answers of each item are right, `[example]`."""
    return pair_accuracy(scored[config.matching].sel(condition=condition).values)


def random_pairs(scored: xr.Dataset, config: ContextKnobConfig) -> np.ndarray:
    """The same with each random direction, `[example, sample]`."""
    names = [name for name in scored["condition"].values if str(name).startswith("random-")]
    return np.stack([pairs(scored, name, config) for name in names], axis=-1)


def headlines(parts: Parts, config: ContextKnobConfig, context: RunContext, rows: pd.DataFrame) -> list[Headline]:
    """Pair accuracy, steering, the same with random directions, transfer, the best block, and where there are `rows` of
    further configurations, the correlation of separation and accuracy.
    """
    main = "adapter" if parts.adapter else "plain"
    scored = parts.scored[main]
    subjects = scored["subject"].values.tolist()
    with_it = ARMS[main]
    by = BY.format(rule=config.matching)
    n = len(subjects)

    def over(values: np.ndarray, purpose: str) -> Interval:
        return bootstrap_share(values, context.rng(f"interval {purpose}"), subjects)

    def headline(name: str, found: Interval, method: str, against: Control) -> Headline:
        return build.headline(name, found, n, unit="share of pairs", split="test", method=method, control=against)

    asked = over(pairs(scored, "asked", config), "pair accuracy")
    knob = over(pairs(scored, "knob", config), "steering")
    random = over(random_pairs(scored, config), "random")
    if parts.adapter:
        plain = over(pairs(parts.scored["plain"], "asked", config), "pair accuracy without")
        untold = build.control("the same prompts without the adapter", plain, n)
    else:
        untold = build.control("no intent line: both prompts are the same", Interval(0.0, 0.0, 0.0), n)
    as_far = f"{config.random} random directions, as far from their middle"
    found = [
        headline("pair_accuracy", asked, f"intent told by {config.intent}, {with_it}; {by}", untold),
        headline(
            "steering_pair_accuracy",
            knob,
            f"no intent line, value set along one direction after block {parts.found.layer}, {with_it}; {by}",
            build.control(as_far, random, n),
        ),
        headline(
            "steering_pair_accuracy_random",
            random,
            f"mean over {config.random} random directions after the same block, {with_it}; {by}, and directions",
            build.control("the knob", knob, n),
        ),
    ]
    if parts.adapter:
        bare = parts.scored["plain"]
        moved = over(pairs(bare, "knob", config), "transfer")
        randomly = over(random_pairs(bare, config), "transfer random")
        found.append(
            headline(
                "transfer_pair_accuracy",
                moved,
                f"the same direction in the model without the adapter, no intent line; {by}",
                build.control(as_far, randomly, n),
            )
        )
    apart = separation.headline(rows, context.rng("interval separation")) if len(rows) else None
    return [*found, _best_block(parts, config, context), *([apart] if apart else [])]


def _best_block(parts: Parts, config: ContextKnobConfig, context: RunContext) -> Headline:
    """The block chosen on the validation items, and where it falls when these are drawn again."""
    right = parts.swept["right"].values
    layers = parts.swept["layer"].values
    place, stretch = choose(right)
    n = right.shape[-1]
    accuracy = pair_accuracy(right[place, stretch]).mean()
    worst = pair_accuracy(right).mean(-1).max(-1)
    found = None
    if pair_accuracy(right).any():
        ends = bootstrap_entries(
            lambda items: float(layers[choose(right[..., items])[0]]), n, context.rng("interval block")
        )
        assert ends is not None
        found = Interval(float(layers[place]), *ends)
    return build.headline(
        "best_block",
        found,
        n,
        unit="block",
        split="validation",
        method=(
            f"block of {len(layers)} at which a direction learnt by interchange steers best; steering pair accuracy "
            f"there {accuracy:.2f}; choice repeated over validation items drawn again"
        ),
        control=build.control(
            "steering pair accuracy at the median block", float(np.median(worst)), n, "share of pairs"
        ),
    )
