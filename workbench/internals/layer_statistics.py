"""Statistics of one layer's attention, from the call that computes its output or from its pattern."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ..kernels import AttentionStats
    from .tokens import TokenBatch

ROWS = ("entropy", "distance", "sink_mass", "recent_mass", "far_mass")
"""Row statistics that are computed unless others are named."""


class LayerChunk(NamedTuple):
    """Statistics of one layer for the queries from `start` on; of all queries where the text was not cut in chunks."""

    layer: int
    start: int
    stats: AttentionStats
    window: int | None = None
    """How many tokens back the layer sees, None for all."""


@dataclass(frozen=True, eq=False)
class StatisticsSpec:
    """Which statistics are computed; the words are those of `kernels.attention_stats`.

    segments: int `[position]` or `[batch, position]`, -1 for none. received: "sum" of all real queries, or weights
    `[set, position]`. weights_at: key positions `[set, position]`. topk, rows: the heaviest keys of the queries at
    these positions (all if None), given in rising order, negative ones counted from the end.
    """

    stats: Sequence[str] = ROWS
    segments: Tensor | None = None
    n_segments: int | None = None
    sink: int = 4
    recent: int = 256
    received: Literal["sum"] | Tensor | None = None
    weights_at: Tensor | None = None
    topk: int = 0
    rows: Sequence[int] | None = None

    @classmethod
    def asked(cls, words: dict[str, Any]) -> StatisticsSpec:
        """The request in these words; raises `UsageError` for one that there is not."""
        known = [each.name for each in fields(cls)]
        if unknown := [word for word in words if word not in known]:
            raise UsageError(
                f"no such option of attention statistics: {', '.join(unknown)}; there is: {', '.join(known)}"
            )
        return cls(**words)

    def of(self, tokens: TokenBatch) -> Request:
        """The same for a batch of texts, checked against it.

        Raises `UsageError` for rows outside a text and for what has another length than the text.
        """
        from ..kernels.result import ROW_STATS

        if unknown := [name for name in self.stats if name not in ROW_STATS]:
            raise UsageError(f"no statistics named {', '.join(map(repr, unknown))}; there is: {', '.join(ROW_STATS)}")
        for name in ("segments", "received", "weights_at"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str) and value.shape[-1] != tokens.width:
                raise UsageError(
                    f"{name} has {value.shape[-1]} entries for a text of {tokens.width} tokens; give one a token"
                )
        if (why := "; ".join(self._wrong(ROW_STATS))) != "":
            raise UsageError(f"attention statistics: {why}")
        rows = None
        if self.rows is not None:
            columns = tokens.columns(self.rows)
            if (columns != columns[:1]).any():
                raise UsageError("rows counted from the end differ between texts of different lengths; count from 0")
            rows = columns[0]
            if (rows.diff() <= 0).any():
                raise UsageError(f"rows are given in rising order and once each, not {list(self.rows)}")
        weights = None if self.received is None or isinstance(self.received, str) else self.received.float()
        if isinstance(self.received, str):
            if self.received != "sum":
                raise UsageError(f"received is 'sum' or weights [set, position], not {self.received!r}")
            weights = tokens.attention_mask[:, None].float()
        if weights is not None and tokens.padded:
            weights = weights * tokens.attention_mask[:, None]
        return Request(self, tokens, weights, rows)

    def _wrong(self, all_rows: Sequence[str]) -> Iterator[str]:
        """What cannot be asked of any text, whatever computes it."""
        for name in ("sink", "recent", "topk"):
            if getattr(self, name) < 0:
                yield f"{name} is {getattr(self, name)}; give 0 or more"
        if self.rows is not None and not self.topk:
            yield "rows is given without topk; say how many keys a row"
        if self.weights_at is not None and int(self.weights_at.min()) < -1:
            yield f"weights_at holds {int(self.weights_at.min())}; give key positions, or -1 for none"
        if self.segments is None:
            if self.n_segments is not None:
                yield "n_segments is given without segments"
            if "segment_mass" in self.stats and tuple(self.stats) != tuple(all_rows):
                yield '"segment_mass" needs segments, an integer for each key'
            return
        low, high = int(self.segments.min()), int(self.segments.max())
        count = high + 1 if self.n_segments is None else self.n_segments
        if low < -1 or high >= count or count < 1:
            yield f"segments holds ids from {low} to {high}; allowed are -1 (none) and 0 to {count - 1}"


@dataclass(frozen=True, eq=False)
class Request:
    """What is wanted of one batch: weights of queries that leave padding out, rows as positions."""

    wanted: StatisticsSpec
    tokens: TokenBatch
    received: Tensor | None
    rows: Tensor | None

    def arguments(self, start: int, stop: int, key_start: int, key_stop: int) -> dict[str, Any]:
        """Arguments of `attention_stats` for the queries `start..stop` on the keys `key_start..key_stop`."""
        import torch

        wanted = self.wanted
        found: dict[str, Any] = {"sink": wanted.sink, "recent": wanted.recent, "sink_start": 0}
        found |= {"query_start": start, "key_start": key_start}
        if wanted.segments is not None:
            count = int(wanted.segments.max()) + 1 if wanted.n_segments is None else wanted.n_segments
            found |= {"segments": wanted.segments[..., key_start:key_stop], "n_segments": count}
        if self.received is not None:
            found["received"] = self.received[..., start:stop]
        if wanted.weights_at is not None:
            found["weights_at"] = wanted.weights_at[..., start:stop]
        if wanted.topk:
            rows = torch.arange(start, stop) if self.rows is None else self.rows
            inside = rows[(rows >= start) & (rows < stop)]
            if len(inside):
                found |= {"topk": wanted.topk, "rows": inside}
        return found

    def cleaned(self, stats: AttentionStats, start: int, key_start: int = 0) -> AttentionStats:
        """The statistics with zero at padding, received from key 0 on, and without the axis of sets for "sum"."""
        import torch

        from ..kernels import AttentionStats

        found = stats.present()
        if "received" in found:
            received = found["received"].squeeze(2) if isinstance(self.wanted.received, str) else found["received"]
            found["received"] = torch.nn.functional.pad(received, (key_start, 0))  # keys that a window has dropped
        if self.tokens.padded:
            for name, value in found.items():
                if name in ("received", "out", "topk_weight", "topk_index"):
                    continue
                if name == "visible_keys":
                    value = value.expand(len(self.tokens.attention_mask), -1, -1)
                axis = 3 if name == "weights_at" else 2
                real = self.tokens.attention_mask[:, start : start + value.shape[axis]].to(value.device)
                shape = [len(real), *[1] * (value.ndim - 1)]
                shape[axis] = value.shape[axis]
                found[name] = value.where(real.reshape(shape), 0)
        return AttentionStats(**found)


@dataclass
class ChunkAccumulator:
    """Parts kept by layer in the machine's memory, to be put together in the end."""

    width: int
    parts: dict[int, list[LayerChunk]] = field(default_factory=dict)

    def add(self, part: LayerChunk) -> None:
        from ..kernels import AttentionStats

        here = AttentionStats(**{name: value.cpu() for name, value in part.stats.present().items()})
        self.parts.setdefault(part.layer, []).append(part._replace(stats=here))

    def merged(self) -> dict[int, AttentionStats]:
        """Statistics of each layer for the whole text: rows one after the other, received added up."""
        return {layer: self._merge(parts) for layer, parts in sorted(self.parts.items())}

    def _merge(self, parts: list[LayerChunk]) -> AttentionStats:
        import torch

        from ..kernels import AttentionStats

        found: dict[str, Tensor] = {}
        for name in (f.name for f in fields(AttentionStats)):
            pieces = [value for part in parts if (value := getattr(part.stats, name)) is not None]
            if not pieces:
                continue
            if name == "received":
                found[name] = sum(self._placed(piece) for piece in pieces)  # type: ignore[assignment]
            else:
                found[name] = torch.cat(pieces, dim=3 if name == "weights_at" else 2)
        return AttentionStats(**found)

    def _placed(self, received: Tensor) -> Tensor:
        """Columns `[…, key]` of the first keys, with zeros for the later ones."""
        import torch

        return torch.nn.functional.pad(received, (0, self.width - received.shape[-1]))
