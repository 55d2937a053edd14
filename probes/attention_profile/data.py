"""The result of a run as a tree that follows the schema of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.records.results import variable

from . import uniform
from .config import AttentionProfileConfig
from .profile import UNITS, edges
from .texts import Texts

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session

SHOWN = 16
"""Keys that are kept of a chosen query for all heads together."""

MEANING = {
    "segment_mass": ("1", "share of attention on a segment, mean over the bin of queries"),
    "flow": ("1", "share of attention from a segment's queries on a segment, mean over heads"),
    "uniform_flow": ("1", "share of attention from a segment's queries on a segment, for uniform attention"),
    "received": ("queries", "attention received from all queries, mean over the bin of keys and the texts"),
    "received_max": ("queries", "attention received by the key of the bin that receives most, in any text"),
    "uniform_received": ("queries", "attention received in uniform attention, mean over the bin"),
    "received_at": ("queries", "attention received from all queries together, mean over heads and layers"),
    "token_id": ("", "token of the vocabulary"),
    "in_segment": ("", "segment that the token lies in, -1 for none"),
    "first_text": ("", "tokens of the first text"),
    "weight": ("1", "attention on the key"),
    "key": ("", "position of the key, -1 where there are fewer"),
    "joint_weight": ("1", "mean over all heads of the attention on a key, where it is among a head's heaviest"),
    "joint_key": ("", "position of the key, -1 where there are fewer"),
    "joint_token": ("", "text of the key"),
    "query_token": ("", "text of the query"),
}
"""Unit and meaning of what is kept beside the statistics of heads."""


def tree(
    texts: Texts,
    measured: Sequence[xr.Dataset],
    shuffled: Sequence[xr.Dataset],
    config: AttentionProfileConfig,
    session: Session,
    span: tuple[int, int],
) -> xr.DataTree:
    """Heads, profile over queries, segments, attention received, and the heaviest keys of chosen queries."""
    import xarray as xr

    found = xr.DataTree.from_dict(
        {
            "/heads": _heads(measured, shuffled),
            "/profile": _profile(texts, measured, config),
            "/segments": _segments(texts, measured),
            "/received": _received(texts, measured, config),
            "/positions": _positions(texts, measured, session),
            "/top": _top(texts, measured, session),
        }
    )
    found.attrs.update(
        text_length=texts.length,
        scored_from=span[0],
        scored_to=span[1],
        context=session.shape.context or 0,
        sink=config.sink,
        recent=config.recent,
        source=texts.source,
        segments=config.segments,
        same_segments=texts.same_segments,
    )
    return found


def _stack(datasets: Sequence[xr.Dataset], name: str) -> np.ndarray:
    return np.stack([each[name].values for each in datasets])


def _kept(name: str, dims: tuple[str, ...], values: np.ndarray) -> tuple[Any, ...]:
    return variable(dims, _light(values), *MEANING[name])


def _light(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _coords(datasets: Sequence[xr.Dataset]) -> dict[str, Any]:
    return {
        "example": np.arange(len(datasets)),
        "layer": datasets[0]["layer"].values,
        "head": datasets[0]["head"].values,
    }


def _heads(measured: Sequence[xr.Dataset], shuffled: Sequence[xr.Dataset]) -> xr.Dataset:
    """Each head's means over the scored queries."""
    import xarray as xr

    groups = [measured, *([shuffled] if shuffled else [])]
    dims = ("condition", "example", "layer", "head")
    return xr.Dataset(
        {
            name: variable(
                dims,
                _light(np.stack([_stack(group, f"scored_{name}") for group in groups])),
                unit,
                f"{words}, mean over the scored queries",
            )
            for name, (unit, words) in UNITS.items()
        },
        coords=_coords(measured) | {"condition": ["text", "shuffled"][: len(groups)]},
    )


def _profile(texts: Texts, measured: Sequence[xr.Dataset], config: AttentionProfileConfig) -> xr.Dataset:
    """Means over texts in each bin of queries, and what uniform attention has there."""
    import xarray as xr

    ends = edges(texts.length, config.bins)
    even = uniform.rows(texts.length, config.sink, config.recent)
    found: dict[str, Any] = {}
    for name, (unit, words) in UNITS.items():
        mean = _stack(measured, name).mean(0, dtype=np.float64)
        found[name] = variable(
            ("layer", "head", "query"), _light(mean), unit, f"{words}, mean over the bin and the texts"
        )
        binned = np.add.reduceat(even[name], ends[:-1]) / np.diff(ends)
        found[f"uniform_{name}"] = variable("query", _light(binned), unit, f"{words}, for uniform attention")
    coords = {name: value for name, value in _coords(measured).items() if name != "example"}
    last = ("query", ends[1:] - 1, {"description": "last query of the bin"})
    return xr.Dataset(found, coords=coords | {"query": ends[:-1], "last_query": last})


def _segments(texts: Texts, measured: Sequence[xr.Dataset]) -> xr.Dataset:
    """Attention on segments by bin of queries, and from segment to segment."""
    import xarray as xr

    most = max(len(text.labels) for text in texts.texts)
    fill = len(texts.texts), most

    def padded(name: str, axes: Sequence[int]) -> np.ndarray:
        wide = []
        for each in measured:
            values = each[name].values
            widths = [(0, most - values.shape[axis] if axis in axes else 0) for axis in range(values.ndim)]
            wide.append(np.pad(values, widths, constant_values=np.nan))
        return np.stack(wide)

    labels, sizes = np.full(fill, "", dtype=object), np.zeros(fill, dtype=np.int64)
    even = np.full((*fill, most), np.nan)
    for index, text in enumerate(texts.texts):
        count = len(text.labels)
        labels[index, :count] = text.labels
        sizes[index, :count] = np.bincount(text.segments[text.segments >= 0], minlength=count)
        even[index, :count, :count] = uniform.flow(text.segments, count)
    flow = ("example", "layer", "query_segment", "segment")
    where = {"description": "segment that the queries lie in"}
    return xr.Dataset(
        {
            "segment_mass": _kept(
                "segment_mass", ("example", "layer", "head", "query", "segment"), padded("segment_mass", (3,))
            ),
            "flow": _kept("flow", flow, padded("flow", (1, 2))),
            "uniform_flow": _kept("uniform_flow", (flow[0], *flow[2:]), even),
            "label": variable(("example", "segment"), labels.astype(str), "", "name of the segment"),
            "tokens": variable(("example", "segment"), sizes, "tokens", "size of the segment"),
        },
        coords=_coords(measured)
        | {
            "query": measured[0]["query"].values,
            "segment": np.arange(most),
            "query_segment": ("query_segment", np.arange(most), where),
        },
    )


def _received(texts: Texts, measured: Sequence[xr.Dataset], config: AttentionProfileConfig) -> xr.Dataset:
    """Attention that keys receive, by head and bin of keys."""
    import xarray as xr

    ends = edges(texts.length, config.key_bins)
    even = np.add.reduceat(uniform.received(texts.length), ends[:-1]) / np.diff(ends)
    dims = ("layer", "head", "key")
    coords = {name: value for name, value in _coords(measured).items() if name != "example"}
    last = ("key", ends[1:] - 1, {"description": "last key of the bin"})
    return xr.Dataset(
        {
            "received": _kept("received", dims, _stack(measured, "received").mean(0, dtype=np.float64)),
            "received_max": _kept("received_max", dims, _stack(measured, "received_max").max(0)),
            "uniform_received": _kept("uniform_received", ("key",), even),
        },
        coords=coords | {"key": ends[:-1], "last_key": last},
    )


def _positions(texts: Texts, measured: Sequence[xr.Dataset], session: Session) -> xr.Dataset:
    """What is kept of every token: its text, its segment, and the attention that it receives in an average head."""
    import xarray as xr

    dims = ("example", "position")
    first = texts.texts[0]
    return xr.Dataset(
        {
            "received": _kept("received_at", dims, _stack(measured, "received_at")),
            "token_id": _kept("token_id", dims, np.stack([text.ids for text in texts.texts])),
            "in_segment": _kept("in_segment", dims, np.stack([text.segments for text in texts.texts])),
            "first_text": _kept("first_text", ("position",), np.asarray(session.text_tokens(first.ids.tolist()))),
        },
        coords={"example": np.arange(len(measured)), "position": np.arange(texts.length)},
    )


def _top(texts: Texts, measured: Sequence[xr.Dataset], session: Session) -> xr.Dataset:
    """The heaviest keys of chosen queries, in every head and in all heads together."""
    import xarray as xr

    index, weight = _stack(measured, "topk_index"), _stack(measured, "topk_weight")
    rows = measured[0]["query_of_row"].values
    together = np.zeros((len(measured), len(rows), SHOWN))
    keys = np.full(together.shape, -1)
    for example in range(len(measured)):
        for row in range(len(rows)):
            flat, heavy = index[example, :, :, row].ravel(), weight[example, :, :, row].ravel()
            sums = np.bincount(flat[flat >= 0], weights=heavy[flat >= 0], minlength=texts.length)
            best = np.argsort(-sums, kind="stable")[:SHOWN]
            together[example, row, : len(best)] = sums[best] / (index.shape[1] * index.shape[2])
            keys[example, row, : len(best)] = np.where(sums[best] > 0, best, -1)
    words = np.full(keys.shape, "", dtype=object)
    for example, text in enumerate(texts.texts):
        for row in range(len(rows)):
            seen = keys[example, row] >= 0
            words[example, row, seen] = session.text_tokens(text.ids[keys[example, row][seen]].tolist())
    asked = np.stack([text.ids[rows] for text in texts.texts])
    names = [session.text_tokens(ids.tolist()) for ids in asked]
    dims = ("example", "layer", "head", "query", "rank")
    place = {"description": "place among the heaviest keys, from 0"}
    shown = {"description": "place among the heaviest keys of all heads"}
    joint = ("example", "query", "place")
    return xr.Dataset(
        {
            "weight": _kept("weight", dims, weight),
            "key": _kept("key", dims, index),
            "joint_weight": _kept("joint_weight", joint, together),
            "joint_key": _kept("joint_key", joint, keys),
            "joint_token": _kept("joint_token", joint, words.astype(str)),
            "query_token": _kept("query_token", ("example", "query"), np.asarray(names)),
        },
        coords=_coords(measured)
        | {
            "query": rows,
            "rank": ("rank", np.arange(index.shape[4]), place),
            "place": ("place", np.arange(SHOWN), shown),
        },
    )
