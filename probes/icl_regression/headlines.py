"""The numbers that a person would quote, each beside its control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.probe import headline_builders as build
from workbench.probe.statistics import Interval, bootstrap_mean, resample

from .encodings import CONTROL, LEARNER, RANDOM, RAW, TASK
from .exchange import PROBE, WHOLE
from .metrics import mean_below

if TYPE_CHECKING:
    import xarray as xr

    from workbench.probe.contract import RunContext
    from workbench.records.record import Headline

    from .asking import Task
    from .config import IclRegressionConfig
    from .parts import Parts

NOTHING = "a learner that always says 0"
PER_D = "squared difference / d"


def all_of(
    parts: Parts, read: xr.Dataset, task: Task, config: IclRegressionConfig, context: RunContext
) -> list[Headline]:
    """All headlines of a run."""
    return [*_behaviour(parts, task, config, context), *_probes(parts, read, context), *_exchange(parts, read, context)]


def _behaviour(parts: Parts, task: Task, config: IclRegressionConfig, context: RunContext) -> list[Headline]:
    rng = context.rng("intervals of headlines")
    names = parts.test["predictor"].values.tolist()
    nothing = names.index("zero")
    where = "mean over 1 to d − 1 pairs" if task.dimensions > 2 else "after one pair"
    ridge = f"ridge {config.penalties[0]:g}"  # where this is the Bayes predictor, it goes by that name
    bayes = "bayes" if task.ratio > 0 else "ols"
    rows = [
        ("mspd_ols", "ols", "from least squares of least norm", True),
        ("mspd_ridge", ridge if ridge in names else "bayes", f"from a ridge with λ = {config.penalties[0]:g}", True),
        ("mspd_gd", "gd optimal", "from one gradient step of the best size for these inputs", True),
        ("spd_bayes", bayes, f"from the Bayes predictor, a ridge with λ = σ²/τ² = {task.ratio:g}", False),
    ]
    found = []
    for name, predictor, words, below in rows:
        values = [_per_prompt(parts.test, said, names.index(predictor), task, below) for said in (None, nothing)]
        mine, control = (bootstrap_mean(each, rng) for each in values)
        found.append(
            build.headline(
                name,
                mine,
                len(values[0]),
                unit=PER_D,
                split="test",
                method=f"{words}, {where if below else 'mean over all prefixes from 1'}; bootstrap over prompts",
                control=build.control(NOTHING, control, len(values[1])),
            )
        )
    return found


def _per_prompt(test: xr.Dataset, said: int | None, predictor: int, task: Task, below: bool) -> np.ndarray:
    """SPD over d of the learner, or of the predictor `said` in its place, from a predictor, `[example]`."""
    mine = test["said"].values if said is None else test["predicted"].values[said]
    apart = np.square(test["predicted"].values[predictor] - mine) / task.dimensions
    return mean_below(apart, task.dimensions) if below else apart[:, 1:].mean(1)


def best_block(read: xr.Dataset, target: str, arm: str, head: str, last: bool = True) -> int:
    """The block after which probes are best on validation prompts, mean over prefixes; `last` may be the last one."""
    values = read["r2_validation"].sel(target=target, arm=arm, head_kind=head).mean("prefix").values
    return int(np.nanargmax(values if last or len(values) == 1 else values[:-1]))


def _probes(parts: Parts, read: xr.Dataset, context: RunContext) -> list[Headline]:
    """Two-layer probes at the block that validation prompts choose, mean over prefixes, beside the best control."""
    rng = context.rng("intervals of probe headlines")
    found = parts.encodings
    n = found.sizes["example"]
    counts = resample(n, rng)

    def score(target: str, arm: str) -> Interval:
        block = best_block(read, target, arm, "mlp")
        error = found["test_error"].sel(target=target, arm=arm, head_kind="mlp", blocks=block).values.astype(float)
        scale = found["test_scale"].sel(target=target, arm=arm).values.astype(float)
        draws = (1 - (error @ counts.T) / (scale @ counts.T)).mean(0)
        low, high = np.quantile(draws, [0.025, 0.975])
        return Interval(float((1 - error.sum(-1) / scale.sum(-1)).mean()), float(low), float(high))

    arms = [arm for arm in (CONTROL, RANDOM, RAW, TASK) if arm in found["arm"].values]
    rows = []
    for name, target, words in (
        ("probe_r2_weights", "weights", "weights of least squares"),
        ("probe_r2_moment", "moment", "XᵀY"),
    ):
        controls = {arm: score(target, arm) for arm in arms}
        highest = max(controls, key=lambda arm: controls[arm].value)
        rows.append(
            build.headline(
                name,
                score(target, LEARNER),
                n,
                unit="share of variance",
                split="test",
                method=f"{words}, two-layer position probes after the block that is best on validation prompts, mean "
                "over prefixes; bootstrap over prompts",
                control=build.control(f"the highest of the control arms: {highest}", controls[highest], n),
            )
        )
    arm = CONTROL if CONTROL in arms else RANDOM
    rows.append(
        build.headline(
            "probe_r2_control",
            score("weights", arm),
            n,
            unit="share of variance",
            split="test",
            method=f"weights of least squares, the same probes on: {arm}; bootstrap over prompts",
            control=build.control("the learner", score("weights", LEARNER), n),
        )
    )
    return rows


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Their quotient, NaN where nothing is below."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below != 0)


def products(found: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Change of a prediction times the gap, `[subspace, blocks, prefix, example]`, and the gap's square, broadcast."""
    gap = found["gap"].values
    moved = found["moved"].values
    return moved * gap, np.broadcast_to(np.square(gap), moved.shape)


def _exchange(parts: Parts, read: xr.Dataset, context: RunContext) -> list[Headline]:
    found = parts.exchange
    block = best_block(read, "weights", LEARNER, "linear", last=False)
    along, size = products(found.sel(blocks=[block]))
    counts = resample(found.sizes["example"], context.rng("intervals of exchange headlines"))
    n = found.sizes["example"]
    names = found["subspace"].values.tolist()
    rows = [row for row, name in enumerate(names) if name not in (PROBE, WHOLE)]

    def effect(which: list[int]) -> Interval | None:
        # a learner that says the same of both prompts leaves no way to go
        if not (size[which, 0].sum(-1) > 0).all():
            return None
        # the mean over subspaces and prefixes; prompts are drawn again
        draws = ratio(along[which, 0] @ counts.T, size[which, 0] @ counts.T).mean((0, 1))
        low, high = np.nanquantile(draws, [0.025, 0.975])
        value = (along[which, 0].sum(-1) / size[which, 0].sum(-1)).mean()
        return Interval(float(value), float(low), float(high))

    probe, random = effect([names.index(PROBE)]), effect(rows)
    said = (
        f"after {block} blocks, chosen on validation prompts; slope of the prediction's change on the gap between both "
        "prompts, mean over prefixes; bootstrap over prompts"
    )
    of_random = f"{len(rows)} random subspaces of the same rank and change"
    return [
        build.headline(
            "causal_effect", probe, n, unit="share", split="exchanged prompts",
            method=f"exchange along the linear probes of the weights, {said}",
            control=build.control(of_random, random, n),
        ),
        build.headline(
            "causal_effect_random", random, n, unit="share", split="exchanged prompts",
            method=f"exchange along {of_random}, {said}",
            control=build.control("the whole state exchanged", effect([names.index(WHOLE)]), n),
        ),
    ]  # fmt: skip
