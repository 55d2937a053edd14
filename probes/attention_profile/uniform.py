"""What a head that attends evenly to all keys it sees would show: closed forms to read numbers against."""

from __future__ import annotations

import numpy as np


def rows(length: int, sink: int, recent: int) -> dict[str, np.ndarray]:
    """Each row statistic of uniform causal attention, `[query]`."""
    query = np.arange(length)
    visible = query + 1
    sinks = np.minimum(sink, visible)
    lately = np.clip(query - np.maximum(sink, query - recent + 1) + 1, 0, None)
    return {
        "entropy": np.log(visible),
        "normalised_entropy": np.ones(length),
        "distance": query / 2,
        "sink_mass": sinks / visible,
        "recent_mass": lately / visible,
        "far_mass": (visible - sinks - lately) / visible,
    }


def received(length: int) -> np.ndarray:
    """Attention that each key j receives from all queries, `[key]`: the sum of 1 / (i + 1) over i from j on."""
    return np.cumsum((1 / np.arange(1, length + 1))[::-1])[::-1]


def flow(segments: np.ndarray, count: int) -> np.ndarray:
    """Mean attention of the queries of one segment on the keys of another, `[query_segment, segment]`."""
    inside = segments[:, None] == np.arange(count)
    seen = np.cumsum(inside, axis=0) / np.arange(1, len(segments) + 1)[:, None]
    return (inside.T @ seen) / np.maximum(inside.sum(0), 1)[:, None]
