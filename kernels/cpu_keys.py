"""The keys cut into tiles, with what is known of each tile beforehand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

TILE = 256  # keys; with 384 rows the scores fit a core's L2 cache
NO_RUNS: NDArray[np.int64] = np.zeros((0, 3), dtype=np.int64)


@dataclass(frozen=True)
class KeyTile:
    """Keys [start, stop); which are padding, if some are; runs [start, end, segment] of equal segments.

    classes: runs [start, end, class] of equal classes of a block mask.
    """

    start: int
    stop: int
    hidden: NDArray[np.bool_] | None
    runs: NDArray[np.int64]
    classes: NDArray[np.int64]


def key_tiles(
    n_key: int, key_mask: Tensor | None, segments: Tensor | None, classes: Tensor | None = None
) -> list[KeyTile]:
    """The tiles of one sequence that hold a real key; `key_mask`, `segments` and `classes` are `[key]`."""
    tiles = []
    for start in range(0, n_key, TILE):
        stop = min(start + TILE, n_key)
        hidden = None
        if key_mask is not None:
            hidden = ~key_mask[start:stop].numpy()
            if hidden.all():
                continue
        runs = NO_RUNS if segments is None else _runs(segments[start:stop].numpy())
        kinds = NO_RUNS if classes is None else _runs(classes[start:stop].numpy())
        tiles.append(KeyTile(start, stop, hidden if hidden is not None and hidden.any() else None, runs, kinds))
    return tiles


def _runs(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    starts = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1))
    runs = np.stack([starts, np.append(starts[1:], ids.size), ids[starts]], axis=1).astype(np.int64)
    return np.ascontiguousarray(runs[runs[:, 2] >= 0])
