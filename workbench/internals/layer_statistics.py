"""Statistics of one layer's attention, from the call that computes its output or from its pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import UsageError, WorkbenchError

if TYPE_CHECKING:
    from torch import Tensor

    from ..kernels import AttentionStats
    from .attention import Call
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

    segments: int `[position]` or `[batch, position]`, -1 for none. columns: "sum" of all real queries, or weights
    `[set, position]`. points: key positions `[set, position]`. topk, rows: the heaviest keys of the queries at these
    positions (all if None), given in rising order, negative ones counted from the end.
    """

    stats: Sequence[str] = ROWS
    segments: Tensor | None = None
    n_segments: int | None = None
    sink: int = 4
    recent: int = 256
    columns: Literal["sum"] | Tensor | None = None
    points: Tensor | None = None
    topk: int = 0
    rows: Sequence[int] | None = None

    def of(self, tokens: TokenBatch) -> Request:
        """The same for a batch of texts, checked against it.

        Raises `UsageError` for rows outside a text and for what has another length than the text.
        """
        from ..kernels.result import ROW_STATS

        if unknown := [name for name in self.stats if name not in ROW_STATS]:
            raise UsageError(f"no statistics named {', '.join(map(repr, unknown))}; there is: {', '.join(ROW_STATS)}")
        for name in ("segments", "columns", "points"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str) and value.shape[-1] != tokens.width:
                raise UsageError(
                    f"{name} has {value.shape[-1]} entries for a text of {tokens.width} tokens; give one a token"
                )
        rows = None
        if self.rows is not None:
            columns = tokens.columns(self.rows)
            if (columns != columns[:1]).any():
                raise UsageError("rows counted from the end differ between texts of different lengths; count from 0")
            rows = columns[0]
            if (rows.diff() <= 0).any():
                raise UsageError(f"rows are given in rising order and once each, not {list(self.rows)}")
        weights = None if self.columns is None or isinstance(self.columns, str) else self.columns.float()
        if isinstance(self.columns, str):
            if self.columns != "sum":
                raise UsageError(f"columns is 'sum' or weights [set, position], not {self.columns!r}")
            weights = tokens.real[:, None].float()
        if weights is not None and tokens.padded:
            weights = weights * tokens.real[:, None]
        return Request(self, tokens, weights, rows)


@dataclass(frozen=True, eq=False)
class Request:
    """What is wanted of one batch: columns as weights that leave padding out, rows as positions."""

    wanted: StatisticsSpec
    tokens: TokenBatch
    columns: Tensor | None
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
        if self.columns is not None:
            found["columns"] = self.columns[..., start:stop]
        if wanted.points is not None:
            found["points"] = wanted.points[..., start:stop]
        if wanted.topk:
            rows = torch.arange(start, stop) if self.rows is None else self.rows
            inside = rows[(rows >= start) & (rows < stop)]
            if len(inside):
                found |= {"topk": wanted.topk, "rows": inside}
        return found

    def cleaned(self, stats: AttentionStats, start: int, key_start: int = 0) -> AttentionStats:
        """The statistics with zero at padding, columns from key 0 on, and without the axis of sets for "sum"."""
        import torch

        from ..kernels import AttentionStats

        found = stats.present()
        if "columns" in found:
            columns = found["columns"].squeeze(2) if isinstance(self.wanted.columns, str) else found["columns"]
            found["columns"] = torch.nn.functional.pad(columns, (key_start, 0))  # keys that a window has dropped
        if self.tokens.padded:
            for name, value in found.items():
                if name in ("columns", "out", "topk_weight", "topk_index"):
                    continue
                axis = 3 if name == "points" else 2
                real = self.tokens.real[:, start : start + value.shape[axis]].to(value.device)
                shape = [len(real), *[1] * (value.ndim - 1)]
                shape[axis] = value.shape[axis]
                found[name] = value.where(real.reshape(shape), 0)
        return AttentionStats(**found)


def attend(call: Call, request: Request, layer: int, start: int) -> tuple[Tensor, LayerChunk]:
    """A call's output `[batch, query, head, d_head]` and its statistics, in one pass; `start` is its first position.

    Raises `WorkbenchError` if this attention is not softmax over the keys before a query, all or within a window.
    """
    from ..kernels import attention_stats

    if call.edited is not None:
        return call.edited.statistics(request, start)
    count, keys = call.q.shape[2], call.k.shape[2]
    key_start = start + count - keys
    window = _window(call, start, key_start)
    if call.options.get("position_bias") is not None:
        raise WorkbenchError(
            f"{type(call.module).__name__} adds a bias to its scores, which these statistics do not know"
        )
    arguments = request.arguments(start, start + count, key_start, key_start + keys)
    given = request.wanted.stats
    try:
        found = attention_stats(
            call.q,
            call.k,
            call.v,
            stats=(*(name for name in given if name != "segment_mass"), "out"),
            scale=call.scaling,
            softcap=call.softcap,
            window=window,
            **arguments,
        )
    except ValueError as error:
        raise UsageError(f"attention statistics: {error}") from error
    out = found.out
    assert out is not None
    kept = {name: value for name, value in found.present().items() if name != "out"}
    stats = request.cleaned(type(found)(**kept), start, key_start)
    return out.transpose(1, 2), LayerChunk(layer, start, stats, window)


def _window(call: Call, start: int, key_start: int) -> int | None:
    """How far back this call sees, None for all the way; verified on three rows of the model's own mask."""
    import torch

    count, keys = call.q.shape[2], call.k.shape[2]
    if not call.causal and count > 1:
        raise WorkbenchError(f"{type(call.module).__name__} is not causal; these statistics are of causal attention")
    if call.mask is None:
        return None
    positions = torch.arange(key_start, key_start + keys, device=call.k.device)
    for row in {0, count // 2, count - 1}:
        mask = call.visible(row, row + 1)
        gap = start + row - positions
        expected = (gap >= 0) & (gap < (call.window or keys + start + 1))
        if mask is None or mask.dtype != torch.bool or not bool((mask[..., 0, :] == expected).all()):
            raise WorkbenchError(
                f"{type(call.module).__name__} hides keys in a way that is neither causal nor a window; "
                "its attention statistics are not computed"
            )
    return call.window


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
        """Statistics of each layer for the whole text: rows one after the other, columns added up."""
        return {layer: self._merge(parts) for layer, parts in sorted(self.parts.items())}

    def _merge(self, parts: list[LayerChunk]) -> AttentionStats:
        import torch

        from ..kernels import AttentionStats

        found: dict[str, Tensor] = {}
        for name in (f.name for f in fields(AttentionStats)):
            pieces = [value for part in parts if (value := getattr(part.stats, name)) is not None]
            if not pieces:
                continue
            if name == "columns":
                found[name] = sum(self._placed(piece) for piece in pieces)  # type: ignore[assignment]
            else:
                found[name] = torch.cat(pieces, dim=3 if name == "points" else 2)
        return AttentionStats(**found)

    def _placed(self, columns: Tensor) -> Tensor:
        """Columns `[…, key]` of the first keys, with zeros for the later ones."""
        import torch

        return torch.nn.functional.pad(columns, (0, self.width - columns.shape[-1]))
