"""The logits of one prompt under each of many edits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ...errors import UsageError
from ...progress import Reporter
from ..edits import EditLike
from ..hooked_model import HookedModel
from ..hooks import refuse_without_vocabulary
from ..tokens import TokenBatch
from . import grids
from .cell_runs import CellRuns
from .cells import Cell
from .grid import Read
from .grid_axes import Lengths
from .room import room_for


def logits_under(
    hooked: HookedModel,
    tokens: TokenBatch,
    edits: Mapping[str, EditLike],
    positions: Sequence[int] | None = None,
    memory: int | str | None = None,
    progress: Reporter | None = None,
) -> dict[str, Tensor]:
    """See `Session.logits_under`."""
    engine, progress = hooked.engine, progress or Reporter()
    refuse_without_vocabulary(engine, "edits side by side")
    found: dict[str, list[Tensor]] = {name: [] for name in edits}
    if positions is None and len(set(tokens.lengths.tolist())) > 1:
        raise UsageError("prompts of different lengths have different positions: say which are read")
    rows = [TokenBatch.of(row) for row in tokens.rows()]
    columns = [torch.arange(row.width) if positions is None else row.columns(positions)[0] for row in rows]
    laid = grids.edits(edits).lay(engine, Lengths(tokens.lengths.tolist()))
    room = room_for(engine, (), tokens.width, max(each.numel() for each in columns), memory)
    with hooked.engine.held():
        for prompt, (row, asked) in enumerate(zip(rows, columns, strict=True)):
            read, place = asked.unique(return_inverse=True)
            cells = list(laid.cells(prompt, Read({}, {}, {})))
            for chunk, logits in _run(CellRuns(engine, row, read, room, progress.check), cells, read):
                for cell, one in zip(chunk, logits, strict=True):
                    found[list(edits)[cell.place[0]]].append(one[place].cpu())
                    progress.send(sum(map(len, found.values())), len(edits) * len(columns), "edits")
    return {name: torch.stack(each) for name, each in found.items()}


def _run(runs: CellRuns, cells: Sequence[Cell], columns: Tensor) -> Iterator[tuple[Sequence[Cell], Tensor]]:
    """The cells' logits, some at a time; those without an edit are the run that the others go on from."""
    plain = [cell for cell in cells if not cell.edits]
    if plain:
        logits = runs.unedited(columns)
        yield plain, logits.expand(len(plain), -1, -1)
    yield from runs.logits([cell for cell in cells if cell.edits])
