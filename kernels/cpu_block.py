"""One block of rows against the keys it sees: the library's matrix products, and one compiled pass between them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import cpu_tiles
from .block_mask import BlockMask
from .cpu_keys import TILE, KeyTile
from .cpu_received import KeptWeights
from .problem import Problem

LOG2E = math.log2(math.e)
FAR_AWAY = 2**40  # beyond any position
ROWS = 384  # a block, over all query heads of one kv head


@dataclass(frozen=True)
class KeyRange:
    """Key positions [low, high) a block may see, and how near they must be."""

    low: int = 0
    high: int = FAR_AWAY
    window: int = FAR_AWAY


@dataclass(frozen=True)
class HidingClasses:
    """What a block mask hides from the rows of a block: rows `[row]` are their classes."""

    rows: NDArray[np.int32]
    sees: NDArray[np.bool_]
    any: NDArray[np.bool_]  # [key class], whether some row sees it
    all: NDArray[np.bool_]  # whether every row does

    @classmethod
    def of(cls, mask: BlockMask, batch: int, first: int, last: int) -> "HidingClasses":
        rows, sees = mask.query[batch, first:last].numpy(), mask.sees.numpy()
        of_rows = sees[np.unique(rows)]
        return cls(np.ascontiguousarray(rows), sees, of_rows.any(axis=0), of_rows.all(axis=0))

    def all_of(self, tile: KeyTile) -> bool:
        """Whether no row sees any key of the tile."""
        return not self.any[tile.classes[:, 2]].any()

    def some_of(self, tile: KeyTile) -> bool:
        """Whether some row does not see some key of the tile."""
        return not self.all[tile.classes[:, 2]].all()


@dataclass
class Block:
    """Running sums of rows [first, last) of all query heads that share one kv head, stacked head by head."""

    problem: Problem
    batch: int
    kv_head: int
    first: int
    last: int
    state: NDArray[np.float64]  # [row, cpu_tiles.STATE]
    mass: NDArray[np.float64]  # [row, segment]
    out: Tensor  # [row, d_value] float32, or [row, 0]
    received: Tensor | None = None  # [head in group, set, key], added to
    kept: KeptWeights | None = None  # weights that are kept until the rows are complete

    @property
    def heads(self) -> slice:
        """The query heads of the block."""
        return slice(self.kv_head * self.problem.group, (self.kv_head + 1) * self.problem.group)

    def add_keys(self, tiles: Sequence[KeyTile], reaches: Sequence[KeyRange], *, fixed: bool, rows: bool) -> None:
        """Add every visible key; `fixed`: the state's m is the final lse; `rows`: row statistics, too."""
        p = self.problem
        q = (p.q[self.batch, self.heads, self.first : self.last].float() * (p.scale * LOG2E)).flatten(0, 1)
        keys = p.k[self.batch, self.kv_head]
        values = None if p.v is None else p.v[self.batch, self.kv_head]
        out = self.out.numpy()
        buffer = torch.empty(q.shape[0] * TILE, dtype=torch.float32)
        i0, i1 = p.query_start + self.first, p.query_start + self.last
        s0 = int(p.sink_start[self.batch])
        hiding = None if p.block_mask is None else HidingClasses.of(p.block_mask, self.batch, self.first, self.last)
        for reach in reaches:
            low = max(reach.low, i0 - reach.window + 1) - p.key_start
            high = min(reach.high, i1 - p.lag if p.causal else i1 - 1 + reach.window) - p.key_start
            layout = (
                self.last - self.first,
                0,
                p.causal,
                reach.window,
                reach.low,
                reach.high,
                s0,
                s0 + p.sink,
                p.recent,
                p.lag,
            )
            block = np.array(layout, dtype=np.int64)
            for tile in tiles:
                stop = min(tile.stop, high)
                if stop <= max(tile.start, low) or (hiding is not None and hiding.all_of(tile)):
                    continue
                n = stop - tile.start
                block[1] = tile.start + p.key_start
                scores = buffer[: q.shape[0] * n].view(-1, n) if self.kept is None else self.kept.room(q.shape[0], n)
                torch.mm(q, keys[tile.start : stop].float().T, out=scores)
                s = scores.numpy()
                if p.softcap is not None:
                    cpu_tiles.cap_tile(s, p.softcap * LOG2E)
                if tile.hidden is not None:
                    cpu_tiles.hide_columns(s, tile.hidden[:n])
                if hiding is not None and hiding.some_of(tile):
                    cpu_tiles.hide_classes(s, hiding.rows, tile.classes, hiding.sees)
                if rows:
                    cpu_tiles.add_tile(s, block, i0, fixed, tile.runs, self.state, self.mass, out)
                else:
                    cpu_tiles.weigh_tile(s, block, i0, self.state)
                if values is not None and rows:
                    self.out.addmm_(scores, values[tile.start : stop].float())
                if self.kept is not None:
                    self.kept.keep(tile.start, stop, scores, self.state[:, cpu_tiles.M])
                elif self.received is not None:
                    self.received[:, :, tile.start : stop] += torch.matmul(self.counted, scores.view(p.group, -1, n))

    @property
    def counted(self) -> Tensor:
        """How much each row counts in what keys received, `[set, query]`."""
        received = self.problem.received
        assert received is not None
        return received[min(self.batch, received.shape[0] - 1), :, self.first : self.last]


def start_block(problem: Problem, batch: int, kv_head: int, first: int, last: int, lse: Tensor | None) -> Block:
    """Empty sums; with `lse` `[batch, head, query]` the final one, otherwise a learned sink is already counted."""
    rows = problem.group * (last - first)
    block = Block(
        problem,
        batch,
        kv_head,
        first,
        last,
        np.zeros((rows, cpu_tiles.STATE)),
        np.zeros((rows, problem.n_segments)),
        torch.zeros(rows, 0 if problem.v is None or lse is not None else problem.v.shape[3], dtype=torch.float32),
    )
    state = block.state
    state[:, cpu_tiles.M] = state[:, cpu_tiles.BEST] = -np.inf
    state[:, cpu_tiles.WHERE] = -1
    slot = None
    if problem.sink_logits is not None:
        slot = problem.sink_logits[block.heads].double().repeat_interleave(last - first).numpy() * LOG2E
    if lse is not None:
        state[:, cpu_tiles.M] = m = lse[batch, block.heads, first:last].double().flatten().numpy() * LOG2E
        if slot is not None:
            state[:, cpu_tiles.SHIFTED] = np.exp2(slot - m) * (slot - m)
    elif slot is not None:
        state[:, cpu_tiles.M], state[:, cpu_tiles.TOTAL] = slot, 1
    return block


def block_ranges(problem: Problem, rows: int = ROWS) -> list[tuple[int, int]]:
    """Row ranges of the blocks, last first: the longest work starts first."""
    step = max(1, rows // problem.group)
    n_query = problem.q.shape[2]
    return [(i, min(i + step, n_query)) for i in range(0, n_query, step)][::-1]
