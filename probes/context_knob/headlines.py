"""The numbers of the context knob that a person would quote, each with its interval and its control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.records.record import Control, Headline

from .evaluation import separation
from .learning.layer_sweep import choose
from .statistics import LEVEL, Interval, over_subjects
from .task.matching import pair_accuracy

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from workbench.probe.contract import RunContext

    from .config import ContextKnobConfig
    from .stages import Parts

BY = "both answers of a pair right, {rule} matching of generated answers; bootstrap over subjects, at least Wilson's"


def pairs(scored: xr.Dataset, condition: str, config: ContextKnobConfig) -> np.ndarray:
    """Whether both answers of each item are right, `[example]`."""
    return pair_accuracy(scored[config.matching].sel(condition=condition).values)


def random_pairs(scored: xr.Dataset, config: ContextKnobConfig) -> np.ndarray:
    """The same with each random direction, `[sample, example]`."""
    names = [name for name in scored["condition"].values if str(name).startswith("random-")]
    return np.stack([pairs(scored, name, config) for name in names])


def headlines(parts: Parts, config: ContextKnobConfig, context: RunContext, rows: pd.DataFrame) -> list[Headline]:
    """Pair accuracy, steering, the same with random directions, transfer, the best block, and where there are `rows` of
    further configurations, the correlation of separation and accuracy.
    """
    main = "adapter" if parts.adapter else "plain"
    scored = parts.scored[main]
    subjects = scored["subject"].values.tolist()
    with_it = "with the adapter" if parts.adapter else "without an adapter"
    by = BY.format(rule=config.matching)

    def over(values: np.ndarray, purpose: str) -> Interval:
        return over_subjects(values, subjects, context.rng(f"interval {purpose}"))

    asked = over(pairs(scored, "asked", config), "pair accuracy")
    knob = over(pairs(scored, "knob", config), "steering")
    random = over(random_pairs(scored, config), "random")
    n = len(subjects)
    if parts.adapter:
        plain = over(pairs(parts.scored["plain"], "asked", config), "pair accuracy without")
        control = _control("the same prompts without the adapter", plain, n)
    else:
        control = _control("no intent line: both prompts are the same", Interval(0.0, 0.0, 0.0), n)
    found = [
        _headline("pair_accuracy", asked, n, f"intent told by {config.intent}, {with_it}; {by}", control),
        _headline(
            "steering_pair_accuracy",
            knob,
            n,
            f"no intent line, value set along one direction after block {parts.found.layer}, {with_it}; {by}",
            _control(f"{config.random} random directions, as far from their middle", random, n),
        ),
        _headline(
            "steering_pair_accuracy_random",
            random,
            n,
            f"mean over {config.random} random directions after the same block, {with_it}; {by}, and directions",
            _control("the knob", knob, n),
        ),
    ]
    if parts.adapter:
        bare = parts.scored["plain"]
        moved = over(pairs(bare, "knob", config), "transfer")
        randomly = over(random_pairs(bare, config), "transfer random")
        found.append(
            _headline(
                "transfer_pair_accuracy",
                moved,
                n,
                f"the same direction in the model without the adapter, no intent line; {by}",
                _control(f"{config.random} random directions, as far from their middle", randomly, n),
            )
        )
    apart = separation.headline(rows, context.rng("interval separation")) if len(rows) else None
    return [*found, _best_block(parts, config, context), *([apart] if apart else [])]


def _best_block(parts: Parts, config: ContextKnobConfig, context: RunContext) -> Headline:
    """The block chosen on the validation items, and where it falls when these are drawn again."""
    right = parts.swept["right"].values
    layers = parts.swept["layer"].values
    place, stretch = choose(right)
    rng, n = context.rng("interval block"), right.shape[-1]
    drawn = [int(layers[choose(right[..., rng.integers(n, size=n)])[0]]) for _ in range(500)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    accuracy = pair_accuracy(right[place, stretch]).mean()
    worst = pair_accuracy(right).mean(-1).max(-1)
    nothing = not pair_accuracy(right).any()
    return Headline(
        name="best_block",
        value=None if nothing else float(layers[place]),
        low=None if nothing else float(low),
        high=None if nothing else float(high),
        level=LEVEL,
        n=n,
        unit="block",
        split="validation",
        method=(
            f"block of {len(layers)} at which a direction learnt by interchange steers best; steering pair accuracy "
            f"there {accuracy:.2f}; choice repeated over validation items drawn again"
        ),
        control=Control(
            name="steering pair accuracy at the median block", value=float(np.median(worst)), n=n, unit="share of pairs"
        ),
    )


def _headline(name: str, found: Interval, n: int, method: str, control: Control) -> Headline:
    return Headline(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        level=LEVEL,
        n=n,
        unit="share of pairs",
        split="test",
        method=method,
        control=control,
    )


def _control(name: str, found: Interval, n: int) -> Control:
    return Control(name=name, value=found.value, low=found.low, high=found.high, n=n)
