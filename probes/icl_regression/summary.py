"""What a run found, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .comparison import NONE

if TYPE_CHECKING:
    import xarray as xr

    from workbench.records.record import Control, Headline, Record

CLOSE = 0.02
"""Mean squared difference over d below which a learner and an algorithm are said to agree."""


def sentences(data: xr.DataTree, record: Record) -> Sequence[str]:
    """The finding first, then how far it can be trusted."""
    lines = {headline.name: headline for headline in record.headline}
    return [_phases(data), _distances(lines), _fit(data), _probes(lines), _exchange(lines)]


def _phases(data: xr.DataTree) -> str:
    phases = data["phases"].to_dataset()
    d = int(data.attrs["dimensions"])
    parts, far = [], []
    for name in phases["range"].values:
        one = phases.sel(range=name)
        found, value = str(one["nearest"].values), float(one["spd"])
        where = f"with {name} pairs"
        if found == NONE:
            parts.append(f"{where} nothing is nearer than always saying 0")
            continue
        second = str(one["runner_up"].values)
        margin = f"{second} is {float(one['margin']):.2g} farther"
        if not float(one["margin_low"]) > 0:
            margin = f"{second} is not clearly farther"
        parts.append(f"{where} it is nearest to {found} (squared difference {value:.2g} of d; {margin})")
        if value > CLOSE:
            far.append(where)
    said = f"In {d} dimensions, {'; '.join(parts)}."
    if far:
        said += f" {' and '.join(far).capitalize()} even the nearest is far: none of them describes it well."
    return said


def _distances(lines: dict[str, Headline]) -> str:
    ols, step, ridge, bayes = (lines[name] for name in ("mspd_ols", "mspd_gd", "mspd_ridge", "spd_bayes"))
    return (
        f"With fewer pairs than dimensions it differs from least squares by {_interval(ols)}, from the ridge by "
        f"{_interval(ridge)}, from the best single gradient step by {_interval(step)}; always saying 0 would differ "
        f"from least squares by {_value(ols.control)}. From the Bayes predictor it differs by "
        f"{_interval(bayes)} over all prefixes."
    )


def _fit(data: xr.DataTree) -> str:
    sweep = data["sweep"].to_dataset()
    value, low, high = (float(sweep[f"fitted_penalty{end}"]) for end in ("", "_low", "_high"))
    grid = sweep["penalty"].values
    bayes = f"that of the Bayes predictor is {float(sweep['bayes_penalty']):.3g}"
    if value <= grid[0]:
        return f"Of all ridges, those with the smallest λ are nearest ({grid[0]:g} and less); {bayes}."
    return f"The nearest ridge has λ = {value:.3g} ({low:.3g} to {high:.3g}); {bayes}."


def _probes(lines: dict[str, Headline]) -> str:
    weights, moment = lines["probe_r2_weights"], lines["probe_r2_moment"]
    return (
        f"Two-layer probes read XᵀY with R² {_interval(moment)} ({_name(moment.control)}: {_value(moment.control)}) "
        f"and the weights of least squares with {_interval(weights)} "
        f"({_name(weights.control)}: {_value(weights.control)})."
    )


def _exchange(lines: dict[str, Headline]) -> str:
    found, random = lines["causal_effect"], lines["causal_effect_random"]
    return (
        f"When what the linear probe of the weights reads is exchanged between two prompts, the prediction goes "
        f"{_interval(found)} of the way; along random subspaces {_interval(random)}, with the whole state "
        f"{_value(random.control)}."
    )


def _interval(line: Headline) -> str:
    if line.value is None or line.low is None or line.high is None:
        return "an unknown amount"
    return f"{line.value:.3g} ({line.low:.3g} to {line.high:.3g})"


def _value(control: Control | None) -> str:
    return "unknown" if control is None or control.value is None else f"{control.value:.3g}"


def _name(control: Control | None) -> str:
    return "nothing to compare with" if control is None else control.name
