"""The numbers of layer contrast that a person would quote, each with its interval and its control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.probe import headline_builders as build
from workbench.probe.statistics import Interval, bootstrap_mean, bootstrap_share, newcombe, wider, wilson

if TYPE_CHECKING:
    import xarray as xr

    from workbench.probe.contract import RunContext
    from workbench.records.record import Control, Headline

METRICS = {
    "mc1": "share of questions whose best answer scores above every false one",
    "mc2": "share of the probability of all answers that the true ones have",
    "mc3": "share of true answers that score above every false one",
}
UNNORMALISED = "the same model and scoring without any contrast"


def multiple_choice(scored: xr.Dataset, context: RunContext) -> list[Headline]:
    """MC1, MC2 and MC3 of each method with log-softmax over its scores, and MC2 without, bootstrap over questions."""
    found = []
    for name, setting in zip(scored["condition"].values, scored["setting"].values, strict=True):
        for scoring, end in (("softmax", ""), ("unnormalised", "_unnormalised")):
            for metric, meaning in METRICS.items():
                if end and metric != "mc2":
                    continue
                rng = context.rng(f"interval {metric} {name}{end}")
                values, base = (
                    scored["mc"].sel(condition=one, scoring=scoring, metric=metric).values for one in (name, "base")
                )
                told = f"{meaning}, scores {'normalised by a softmax' if not end else 'as they are'}"
                against = None
                if name != "base":
                    against = build.control(UNNORMALISED, bootstrap_share(base, rng), len(base))
                found.append(
                    build.headline(
                        f"{metric}_{name}{end}",
                        bootstrap_share(values, rng),
                        len(values),
                        unit="1",
                        split="test",
                        method=told + (f"; {setting}, chosen on validation questions" if setting else ""),
                        control=against or _chance(scored, metric),
                    )
                )
    return found


def _chance(scored: xr.Dataset, metric: str) -> Control:
    """What answers in a random order come to."""
    true = scored["true"].values
    count = (scored["tokens"].values > 0).sum(1)
    false = count - true
    expected = true / count if metric == "mc2" else 1 / (false + 1)
    return build.control("answers in a random order", float(expected.mean()), len(true))


def conflicts(answered: xr.Dataset, context: RunContext) -> list[Headline]:
    """Exact match with the context, with and without a conflict, plainly and under context-aware decoding."""
    found = []
    alpha = answered.attrs["alpha"]
    for kind, begin in (("conflict", "conflict"), ("agreement", "noconflict")):
        at = answered["kind"].values == kind
        n = int(at.sum())
        both = {name: answered["em"].sel(condition=name).values[at] for name in ("base", "cad")}
        intervals: dict[str, Interval | None] = {
            name: wilson(float(values.mean()), n) if n else None for name, values in both.items()
        }
        for name, values in both.items():
            other = "cad" if name == "base" else "base"
            told = "plain decoding" if name == "base" else f"context-aware decoding, α {alpha:g} chosen on validation"
            against = "plain decoding" if other == "base" else f"context-aware decoding, α {alpha:g}"
            found.append(
                build.headline(
                    f"{begin}_em_{name}",
                    intervals[name],
                    len(values),
                    unit="share of questions",
                    split="test",
                    method=f"exact match of the first line with the context's answer; {told}; Wilson interval",
                    control=build.control(against, intervals[other], n),
                )
            )
        if kind == "conflict" and n:
            gap = bootstrap_mean(both["cad"] - both["base"], context.rng("interval gain"))
            first, second = intervals["cad"], intervals["base"]
            assert first is not None and second is not None
            found.append(
                build.headline(
                    "conflict_em_gain",
                    wider(gap, newcombe(first, second)),
                    n,
                    unit="share of questions",
                    split="test",
                    method=f"exact match under context-aware decoding, α {alpha:g}, minus plain decoding, on the same "
                    "questions; bootstrap over questions, at least as wide as Newcombe's",
                    control=build.control("no difference", Interval(0.0, 0.0, 0.0), n),
                )
            )
    return found


def overwritten(layers: xr.Dataset, context: RunContext) -> Headline:
    """Share of questions whose true answer leads at a lower layer and not at the last one."""
    lead = layers["lead"].values
    lead = lead[np.isfinite(lead).all(1)]
    lost = ((lead[:, :-1] > 0).any(1) & (lead[:, -1] <= 0)).astype(float)
    gained = ((lead[:, :-1] <= 0).any(1) & (lead[:, -1] > 0)).astype(float)
    n = len(lead)
    against = bootstrap_share(gained, context.rng("interval of the gained")) if n else None
    return build.headline(
        "answers_overwritten",
        bootstrap_share(lost, context.rng("interval of the overwritten")) if n else None,
        n,
        unit="share of questions",
        split="test",
        method="questions whose best answer begins with a likelier token than every false one at a lower layer, "
        "through the final norm, and not at the last; bootstrap over questions, at least as wide as Wilson's",
        control=build.control("questions in which it leads at the last layer and not at every lower one", against, n),
    )
