"""What a run of layer contrast found, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.formatting import percent
from workbench.probe.headline_builders import in_percent

if TYPE_CHECKING:
    import xarray as xr

    from workbench.records.record import Headline, Record


def sentences(data: xr.DataTree, record: Record) -> Sequence[str]:
    """The finding first, then how far it can be trusted."""
    lines = {headline.name: headline for headline in record.headline}
    return [_choices(data), _scoring(data), _context(lines, float(data.attrs["alpha"])), _layers(data, lines)]


def better(compared: xr.Dataset) -> list[str]:
    """Methods that change MC1 or MC3, for better or worse, beyond what Holm's correction leaves to chance."""
    at = compared.sel(scoring="softmax", metric=["mc1", "mc3"])
    sure = (at["p_holm"] <= 0.05).any("metric").values
    return [str(name) for name, yes in zip(compared["condition"].values, sure, strict=True) if yes]


def _choices(data: xr.DataTree) -> str:
    scored, compared = data["choices"].to_dataset(), data["compared"].to_dataset()
    base = float(scored["mc"].sel(condition="base", scoring="softmax", metric="mc1").mean())
    if not compared.sizes["condition"]:
        return f"Without any contrast the model prefers the best answer in {percent(base)} of the questions."
    gaps = compared["difference"].sel(scoring="softmax", metric="mc1")
    best = str(gaps["condition"].values[int(gaps.values.argmax())])
    one = compared.sel(condition=best, scoring="softmax", metric="mc1")
    low, value, high = (float(one[name]) for name in ("low", "difference", "high"))
    sure = better(compared)
    above = {name: float(gaps.sel(condition=name)) >= 0 for name in sure}
    told = ", ".join(f"{name} ({'better' if above[name] else 'worse'})" for name in sure)
    verdict = f"different beyond chance are {told}" if sure else "none differs from it beyond chance"
    return (
        f"Without any contrast the model prefers the best answer in {percent(base)} of {scored.sizes['example']} "
        f"questions; of the contrasts {best} does best, {value:+.2f} ({low:+.2f} to {high:+.2f}); {verdict}."
    )


def _scoring(data: xr.DataTree) -> str:
    scored = data["choices"].to_dataset()
    gain = {}
    for scoring in ("softmax", "unnormalised"):
        means = scored["mc"].sel(scoring=scoring, metric="mc2").mean("example")
        gain[scoring] = means - means.sel(condition="base")
    both = [str(name) for name in scored["condition"].values if name != "base"]
    if not both:
        return "There is no method to compare the two ways of scoring by."
    name = max(both, key=lambda each: float(gain["unnormalised"].sel(condition=each)))
    without, normal = (float(gain[each].sel(condition=name)) for each in ("unnormalised", "softmax"))
    return (
        f"Of the change in MC2 of {name}, {without:+.2f} with its scores as they are, {normal:+.2f} is left when they "
        "are normalised."
    )


def _context(lines: dict[str, Headline], alpha: float) -> str:
    base, cad, gain = lines["conflict_em_base"], lines["conflict_em_cad"], lines.get("conflict_em_gain")
    first, second = lines["noconflict_em_base"], lines["noconflict_em_cad"]
    said = (
        f"Where the context conflicts with the model, {in_percent(base)} of {base.n} answers are the context's, and "
        f"{in_percent(cad)} under context-aware decoding with α {alpha:g}"
    )
    if gain is not None and gain.low is not None and gain.high is not None:
        sure = "more than chance" if gain.low > 0 else "less than plainly" if gain.high < 0 else "which may be chance"
        said += f" ({sure}: {gain.value:+.2f}, {gain.low:+.2f} to {gain.high:+.2f})"
    return f"{said}; where it agrees, {in_percent(first)} and {in_percent(second)} of {first.n}."


def _layers(data: xr.DataTree, lines: dict[str, Headline]) -> str:
    block, share = int(data.attrs["block"]), lines["answers_overwritten"]
    if block < 0:
        return f"No true answer that leads at a lower layer is lost at the last one ({share.n} questions)."
    return (
        f"In {in_percent(share)} of {share.n} questions the true answer leads at a lower layer and not at the last; "
        f"its lead falls most in block {block}."
    )
