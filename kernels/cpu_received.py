"""What keys received, from weights that are kept until the lse of their rows is known: no score is computed twice."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = 384 * 2**14  # weights that one thread keeps, 24 MiB: the largest blocks, of up to 16,384 keys
FEWEST = 96  # rows of a block, whatever it keeps: fewer leave the matrix products half used


def kept_rows(n_key: int, most: int) -> int:
    """Rows of a block, over all query heads of one kv head, whose weights are kept."""
    return min(most, max(FEWEST, KEPT // n_key))


@dataclass
class KeptWeights:
    """The weights of one block's rows, tile by tile, each relative to the row's maximum when the tile was added."""

    buffer: Tensor  # [row * key], of the largest block
    used: int = 0
    tiles: list[tuple[int, int, Tensor, NDArray[np.float64]]] = field(default_factory=list)

    @classmethod
    def taken(cls, spare: list["KeptWeights"], rows: int, n_key: int) -> "KeptWeights":
        """Room for blocks of so many rows against so many keys, a spare one if there is any."""
        try:
            return spare.pop()
        except IndexError:
            return cls(torch.empty(rows * n_key, dtype=torch.float32))

    def room(self, rows: int, n: int) -> Tensor:
        """Where the scores of the next tile go, `[row, key]`."""
        part = self.buffer[self.used : self.used + rows * n].view(rows, n)
        self.used += rows * n
        return part

    def keep(self, start: int, stop: int, weights: Tensor, m: NDArray[np.float64]) -> None:
        """The tile of keys [start, stop) holds weights relative to the maxima m `[row]`, in units of log 2."""
        self.tiles.append((start, stop, weights, m.copy()))

    def give(self, counted: Tensor, lse: NDArray[np.float64], received: Tensor) -> None:
        """Add to `received` `[head in group, set, key]` and forget the tiles.

        counted: `[set, query]`, how much each query counts. lse: `[row]`, in units of log 2.
        """
        group = received.shape[0]
        for start, stop, weights, m in self.tiles:
            with np.errstate(invalid="ignore"):  # a row that sees nothing: -inf less -inf
                share = np.where(np.isfinite(m), np.exp2(m - lse), 0).astype(np.float32)
            scaled = counted[None] * torch.from_numpy(share).view(group, 1, -1)
            received[:, :, start:stop] += torch.bmm(scaled, weights.view(group, -1, stop - start))
        self.used, self.tiles = 0, []
