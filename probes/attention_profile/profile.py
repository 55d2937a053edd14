"""From the statistics of each query to what is kept of a text: means over bins of queries, and sums over keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from workbench.internals.layer_statistics import ROWS, StatisticsSpec

from .config import AttentionProfileConfig
from .texts import Text

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from workbench.internals.layer_statistics import LayerChunk

UNITS = {
    "entropy": ("nats", "entropy of the attention weights"),
    "normalised_entropy": ("1", "entropy over the logarithm of the number of visible keys, from the second token on"),
    "distance": ("tokens", "mean distance between query and key, weighted by attention"),
    "sink_mass": ("1", "share of attention on the first tokens"),
    "recent_mass": ("1", "share of attention on the last tokens before the query, sinks left out"),
    "far_mass": ("1", "share of attention on everything between sinks and recent tokens"),
}
"""What is kept of every head, with unit and meaning."""


def edges(length: int, bins: int) -> np.ndarray:
    """First positions of `bins` bins of about equal size over a text, and its length at the end."""
    return np.unique(np.linspace(0, length, min(bins, length) + 1).astype(np.int64))


def scored(length: int, context: int | None) -> tuple[int, int]:
    """The queries that headlines are measured on: the second half of the text, as far as the model was trained for."""
    end = min(length, context or length)
    return end // 2, end


def chosen_rows(config: AttentionProfileConfig, length: int) -> list[int]:
    """The queries whose heaviest keys are kept, from the first on."""
    return sorted({row % length for row in config.rows})


def wanted(text: Text, config: AttentionProfileConfig) -> StatisticsSpec:
    """Everything that is kept of a text."""
    import torch

    length = len(text.ids)
    return StatisticsSpec(
        stats=ROWS,
        segments=torch.from_numpy(text.segments),
        n_segments=len(text.labels),
        sink=config.sink,
        recent=config.recent,
        received="sum",
        topk=config.topk,
        rows=chosen_rows(config, length),
    )


@dataclass
class Sums:
    """Sums over the queries of one layer that came so far."""

    binned: dict[str, np.ndarray] = field(default_factory=dict)
    """`[head, bin]`; of `segment_mass` `[head, bin, segment]`."""
    scored: dict[str, np.ndarray] = field(default_factory=dict)
    """`[head]`, over the queries that headlines are measured on."""
    flow: np.ndarray | None = None
    """`[query_segment, segment]`, mean over heads."""
    received: np.ndarray | None = None
    """`[head, key]`."""
    top: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    worst: float = 0.0
    """The largest error of an identity that holds exactly: masses of one query sum to one."""


class Profile:
    """Sums up the statistics of one text as its layers come, and forgets each query's."""

    def __init__(self, text: Text, config: AttentionProfileConfig, context: int | None) -> None:
        self.text, self.config = text, config
        self.length = len(text.ids)
        self.edges = edges(self.length, config.bins)
        self.key_edges = edges(self.length, config.key_bins)
        self.scored = scored(self.length, context)
        self._open: dict[int, Sums] = {}
        self._done: dict[int, dict[str, np.ndarray]] = {}

    def see(self, part: LayerChunk) -> None:
        """Take the next queries of a layer."""
        sums = self._open.setdefault(part.layer, Sums())
        stats = {name: _array(value) for name, value in part.stats.present().items()}
        count = stats["entropy"].shape[1]
        stop = part.start + count
        visible = stats.pop("visible_keys")[0]
        stats["normalised_entropy"] = stats["entropy"] / np.log(np.maximum(visible, 2))
        at = np.unique([part.start, *self.edges[(self.edges > part.start) & (self.edges < stop)]])
        bins = np.searchsorted(self.edges, at, side="right") - 1
        low, high = (min(max(end, part.start), stop) - part.start for end in self.scored)
        for name in (*UNITS, "segment_mass"):
            values = stats.get(name)
            if values is None:
                continue
            if name not in sums.binned:
                sums.binned[name] = np.zeros((values.shape[0], len(self.edges) - 1, *values.shape[2:]))
            sums.binned[name][:, bins] += np.add.reduceat(values, at - part.start, axis=1, dtype=np.float64)
            if name in UNITS:
                sums.scored[name] = sums.scored.get(name, 0.0) + values[:, low:high].sum(1, dtype=np.float64)
        masses = stats["sink_mass"] + stats["recent_mass"] + stats["far_mass"] + stats.get("learned_sink_mass", 0.0)
        sums.worst = max(sums.worst, float(np.abs(masses - 1).max()))
        if "segment_mass" in stats:
            self._take_flow(sums, part.start, stop, stats["segment_mass"])
        if "received" in stats:
            padded = np.pad(stats["received"], ((0, 0), (0, self.length - stats["received"].shape[1])))
            sums.received = padded if sums.received is None else sums.received + padded
        if "topk_weight" in stats:
            sums.top.append((stats["topk_weight"], stats["topk_index"]))
        if stop == self.length:
            self._done[part.layer] = self._finished(self._open.pop(part.layer))

    def _take_flow(self, sums: Sums, start: int, stop: int, mass: np.ndarray) -> None:
        inside = self.text.segments[start:stop] == np.arange(len(self.text.labels))[:, None]
        here = inside.astype(np.float64) @ mass.mean(0, dtype=np.float64)
        sums.flow = here if sums.flow is None else sums.flow + here

    def _finished(self, sums: Sums) -> dict[str, np.ndarray]:
        """Means and binned columns of a layer that has seen all queries."""
        sizes = np.diff(self.edges)
        found: dict[str, np.ndarray] = {"worst": np.asarray(sums.worst)}
        for name, total in sums.binned.items():
            counts = sizes - (np.arange(len(sizes)) == 0) if name == "normalised_entropy" else sizes
            counts = np.maximum(counts, 1)
            found[name] = total / (counts[:, None] if total.ndim == 3 else counts)
        low, high = self.scored
        for name, total in sums.scored.items():
            found[f"scored_{name}"] = total / max(high - max(low, int(name == "normalised_entropy")), 1)
        if sums.flow is not None:
            sizes = (self.text.segments == np.arange(len(self.text.labels))[:, None]).sum(1)
            found["flow"] = sums.flow / np.maximum(sizes, 1)[:, None]
        if sums.received is not None:
            widths = np.diff(self.key_edges)
            starts = self.key_edges[:-1]
            found["received"] = np.add.reduceat(sums.received, starts, axis=1, dtype=np.float64) / widths
            found["received_max"] = np.maximum.reduceat(sums.received, starts, axis=1)
            found["received_at"] = sums.received.mean(0)
            total = sums.received.sum(1, dtype=np.float64) / self.length
            found["worst"] = np.maximum(found["worst"], np.abs(total - 1).max())
        if sums.top:
            found["topk_weight"], found["topk_index"] = (
                np.concatenate(each, axis=1) for each in zip(*sums.top, strict=True)
            )
        return found

    def dataset(self) -> xr.Dataset:
        """Everything kept of this text, by layer."""
        import xarray as xr

        layers = sorted(self._done)
        stacked = {name: np.stack([self._done[layer][name] for layer in layers]) for name in self._done[layers[0]]}
        kept: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for name in UNITS:
            kept[name] = (("layer", "head", "query"), stacked[name])
            kept[f"scored_{name}"] = (("layer", "head"), stacked[f"scored_{name}"])
        kept["worst"] = (("layer",), stacked["worst"])
        dims = {
            "segment_mass": ("layer", "head", "query", "segment"),
            "flow": ("layer", "query_segment", "segment"),
            "received": ("layer", "head", "key"),
            "received_max": ("layer", "head", "key"),
            "topk_weight": ("layer", "head", "row", "rank"),
            "topk_index": ("layer", "head", "row", "rank"),
        }
        if "topk_weight" in stacked:
            kept["query_of_row"] = (("row",), np.asarray(chosen_rows(self.config, self.length)))
        kept |= {name: (dims[name], stacked[name]) for name in dims if name in stacked}
        if "received_at" in stacked:
            kept["received_at"] = (("position",), stacked["received_at"].mean(0))
        heads = stacked["entropy"].shape[1]
        return xr.Dataset(
            {name: (axes, _light(values)) for name, (axes, values) in kept.items()},
            coords={"layer": layers, "head": np.arange(heads), "query": self.edges[:-1], "key": self.key_edges[:-1]},
        )


def _light(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _array(value: Tensor) -> np.ndarray:
    """A statistic of the only text of a batch, without the batch's axis."""
    return value[0].float().cpu().numpy() if value.is_floating_point() else value[0].cpu().numpy()
