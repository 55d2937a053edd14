"""What a run of the context knob found, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.probe.headline_builders import against, in_percent

from .search import summary

if TYPE_CHECKING:
    import xarray as xr

    from workbench.records.record import Headline, Record


def sentences(data: xr.DataTree, record: Record) -> Sequence[str]:
    """The finding first, then how far it can be trusted."""
    lines = {headline.name: headline for headline in record.headline}
    with_it = "With the adapter, the model" if data.attrs["adapter"] else "The model"
    asked, knob, random = (
        lines[name] for name in ("pair_accuracy", "steering_pair_accuracy", "steering_pair_accuracy_random")
    )
    layer = int(data.attrs["layer"])
    said = [
        f"{with_it} answers from its context or its prior as the prompt asks in {in_percent(asked)} of {asked.n} "
        f"pairs; {against(asked)}.",
        f"{_verdict(knob, random)} One direction after block {layer}, set without any intent line, gives both answers "
        f"in {in_percent(knob)} of pairs; random directions in {in_percent(random)}.",
    ]
    if moved := lines.get("transfer_pair_accuracy"):
        said.append(
            f"The same direction in the model without the adapter gives both answers in {in_percent(moved)} of pairs."
        )
    block = lines["best_block"]
    if block.value is None:
        said.append("At no block of the sweep did a direction steer a single pair of the validation items.")
    else:
        said.append(
            f"Of the blocks of the sweep, {block.value:.0f} steers best on the validation items (interval "
            f"{block.low:.0f} to {block.high:.0f})."
        )
    if apart := lines.get("separation_r"):
        said.append(_separation(apart))
    if "search" in data.children:
        said += summary.sentences({str(arm): each.to_dataset() for arm, each in data["search"].children.items()})
    return said


def _separation(line: Headline) -> str:
    if line.value is None or line.low is None or line.high is None:
        return f"Separation and pair accuracy do not both vary over the {line.n} configurations."
    verdict = "go together" if line.low > 0 else "are not shown to go together"
    return (
        f"Over {line.n} configurations, the separation of the values along the direction and pair accuracy {verdict}: "
        f"r = {line.value:.2f} ({line.low:.2f} to {line.high:.2f})."
    )


def _verdict(knob: Headline, random: Headline) -> str:
    if knob.low is not None and random.high is not None and knob.low > random.high:
        return "A single direction decides."
    return "No single direction is shown to decide."
