"""What a run of head roles found, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.probe.headline_builders import in_percent

if TYPE_CHECKING:
    import xarray as xr

    from workbench.records.record import Headline, Record


def sentences(data: xr.DataTree, record: Record) -> Sequence[str]:
    """The finding first, then how far it can be trusted."""
    lines = {headline.name: headline for headline in record.headline}
    heads = data["heads"].to_dataset()
    return [
        _heads(heads, lines["retrieval_head_share"], float(data.attrs["threshold"])),
        _recall(lines, int(data.attrs["top"])),
        _verdict(lines["needle_recall_lost_to_top"], int(data.attrs["top"])),
    ]


def named(heads: xr.Dataset) -> list[tuple[int, int]]:
    """The retrieval heads as layer and head, the highest held-out score first."""
    found = np.argwhere(heads["named"].values)
    score = heads["copy_score"].values
    return sorted(((int(layer), int(head)) for layer, head in found), key=lambda at: -score[at])


def _heads(heads: xr.Dataset, share: Headline, threshold: float) -> str:
    total = heads["named"].size
    found = named(heads)
    if not found:
        return f"No head copies from the needle: of {total} heads, none is above {threshold:g} on both sets of needles."
    score = heads["copy_score"].values
    best = ", ".join(f"{layer}.{head} ({score[layer, head]:.2f})" for layer, head in found[:5])
    verb = "head copies" if len(found) == 1 else "heads copy"
    return (
        f"{len(found)} of {total} {verb} from the needle while the answer is written"
        f"{': ' if len(found) <= 5 else ', first '}{best}; on the held-out needles {in_percent(share)} of all heads "
        f"reach {threshold:g}."
    )


def _recall(lines: dict[str, Headline], top: int) -> str:
    none, cut, random = (lines[f"needle_recall{end}"] for end in ("", "_top_ablated", "_random_ablated"))
    return (
        f"The model recalls {in_percent(none)} of {none.n} held-out needles; with the top {top} heads ablated "
        f"{in_percent(cut)}, with {top} random heads of the same layers {in_percent(random)}."
    )


def _verdict(gap: Headline, top: int) -> str:
    if gap.value is None or gap.low is None or gap.high is None:
        return "Whether these heads matter could not be measured."
    interval = f"{gap.value:+.2f}, interval {gap.low:+.2f} to {gap.high:+.2f}"
    if gap.low > 0:
        return f"Recall needs the top {top} heads more than random ones ({interval})."
    if gap.high < 0:
        return f"Random heads matter more to recall than the top {top} ({interval})."
    return f"These needles do not show that recall needs the top {top} heads more than random ones ({interval})."
