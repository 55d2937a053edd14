"""What a run of the attention profile found, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.formatting import percent
from workbench.probe.headline_builders import in_percent

if TYPE_CHECKING:
    import xarray as xr

    from workbench.records.record import Headline, Record

KINDS = {"sink_mass": "on sinks", "recent_mass": "on recent tokens", "far_mass": "far away"}


def sentences(data: xr.DataTree, record: Record) -> Sequence[str]:
    """The finding first, then how far it can be trusted."""
    lines = {headline.name: headline for headline in record.headline}
    said = [_average(data, lines), _against(lines), _extremes(data)]
    context, length = int(data.attrs["context"]), int(data.attrs["text_length"])
    if context and length > context:
        said.append(
            f"The text has {length:,} tokens and the model was trained for {context:,}: what lies beyond is a proof of "
            "scale, not a finding; the headlines are measured within."
        )
    return said


def _average(data: xr.DataTree, lines: dict[str, Headline]) -> str:
    low, high = int(data.attrs["scored_from"]), int(data.attrs["scored_to"])
    share = {name: lines[name].value or 0.0 for name in (*KINDS, "mean_normalised_entropy", "mean_entropy")}
    texts = lines["sink_mass"].n
    sink, recent, far = (percent(share[name]) for name in KINDS)
    return (
        f"With {low:,} to {high:,} tokens before it, a query spends {sink} of its attention on the first "
        f"{data.attrs['sink']} tokens, {recent} on the last {data.attrs['recent']} and {far} in between (mean of all "
        f"heads, {texts} text{'s' if texts != 1 else ''}); its entropy is {share['mean_entropy']:.2f} nats, "
        f"{percent(share['mean_normalised_entropy'])} of the most possible."
    )


def _against(lines: dict[str, Headline]) -> str:
    far = lines["far_mass"]
    control = far.control
    if control is None or control.value is None or far.value is None:
        return "There is no control."
    if far.low is None or far.high is None or control.low is None or control.high is None:
        return f"Far away lies {percent(far.value)} of attention; in {control.name}, {percent(control.value)}."
    verdict = (
        "the intervals overlap" if far.low <= control.high and control.low <= far.high else "the intervals are apart"
    )
    return f"Far away lies {in_percent(far, 3)} of attention; with {control.name} {in_percent(control, 3)}: {verdict}."


def _extremes(data: xr.DataTree) -> str:
    heads = data["heads"].to_dataset().sel(condition="text").mean("example")
    parts = []
    for name, where in KINDS.items():
        values = heads[name].values
        layer, head = np.unravel_index(int(values.argmax()), values.shape)
        parts.append(f"{int(heads['layer'][layer])}.{int(head)} ({percent(values[layer, head])} {where})")
    return f"The heads that go furthest: {', '.join(parts)}."
