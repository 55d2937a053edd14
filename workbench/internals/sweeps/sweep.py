"""A sweep: the metric under every edit of a grid, for every prompt, as a labelled table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ...errors import UsageError
from ...progress import Reporter
from ..answer_prompts import listed_prompts
from ..edits import Frame
from ..hooked_model import HookedModel
from ..hooks import known, refuse_without_vocabulary
from ..sites import Site
from ..tokens import TokenBatch
from . import attribution
from .cell_runs import CellRuns
from .cells import Cell
from .grid import Grid, Laid, Read
from .grid_axes import Lengths
from .metrics import MetricLike, Reading, metric_of
from .path_grid import PathCell, received
from .reading import read
from .resuming import Resuming
from .room import room_for
from .table import table

if TYPE_CHECKING:
    import xarray as xr

    from ..prompts import Prompts

Into = Literal["clean", "corrupted"]
Method = Literal["run", "gradient", "both"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that a sweep needs, checked before anything of it runs.

    base, other: tokens of each prompt with the metric's own after them. clean: which of the two is the clean one.
    """

    grid: Grid
    laid: Laid
    readings: list[Reading]
    base: list[TokenBatch]
    other: list[TokenBatch] | None
    into: Into
    room: int
    units: str
    meaning: str


def prepare(
    hooked: HookedModel,
    reader: Prompts,
    clean: Any,
    corrupted: Any,
    grid: Grid,
    metric: MetricLike,
    into: Into | None,
    memory: int | str | None,
    method: Method,
    chat: bool,
) -> Prepared:
    """Read prompts, grid and metric; raises `UsageError` or `SiteError` for what does not fit, before anything runs."""
    engine = hooked.engine
    refuse_without_vocabulary(engine, "sweep")
    if not isinstance(grid, Grid):
        raise UsageError(
            f"a grid is made by wb.grids.patch, ablate, edits or paths, not {type(grid).__name__} {grid!r}"
        )
    if method not in get_args(Method):
        raise UsageError(f"method is 'run', 'gradient' or 'both', not {method!r}")
    measured = metric_of(metric)
    prompts = listed_prompts(clean)[0]
    others = None if corrupted is None else listed_prompts(corrupted)[0]
    if others is None and (grid.uses_other or into == "corrupted"):
        raise UsageError("this sweep needs a second run, whose values are written or which is edited: give corrupted")
    if others is not None and len(others) != len(prompts):
        raise UsageError(f"there are {len(prompts)} clean prompts and {len(others)} corrupted: give them in pairs")
    into = into or (grid.into if others is not None else "clean")
    if into not in get_args(Into):
        raise UsageError(f"into is the run that is edited, 'clean' or 'corrupted', not {into!r}")
    readings = measured.read(reader, prompts, chat)
    rows = [reader.tokens(prompt, chat).rows()[0] for prompt in prompts]
    pairs = [rows] if others is None else [rows, [reader.tokens(prompt, chat).rows()[0] for prompt in others]]
    if into == "corrupted":
        pairs.reverse()
    counts = [[len(row) for row in side] for side in pairs]
    after = max(len(reading.after) for reading in readings)
    lengths = Lengths(counts[0], counts[1] if len(counts) > 1 else None, after)
    laid = grid.lay(engine, lengths)
    batches = [
        [known(engine, TokenBatch.of([*row, *one.after])) for row, one in zip(side, readings, strict=True)]
        for side in pairs
    ]
    width = max(tokens.width for side in batches for tokens in side)
    room = room_for(hooked.engine, laid.sites, width, 1 + after, memory, method != "run")
    return Prepared(
        grid, laid, readings, batches[0], batches[1] if len(batches) > 1 else None, into, room,
        measured.units, measured.meaning,
    )  # fmt: skip


def sweep(
    hooked: HookedModel,
    asked: Prepared,
    method: Method = "run",
    seed: int = 0,
    progress: Reporter | None = None,
    way: Resuming | None = None,
) -> xr.Dataset:
    """Run a prepared sweep; see `Session.sweep`. `way` is how runs go on from a kept one, None as the engine can."""
    progress = progress or Reporter()
    with hooked.engine.held():
        running = _Running(hooked, asked, progress, method, way)
        for prompt in range(len(asked.base)):
            running.prompt(prompt)
    return table(running, seed)


class _Running:
    """The values of a sweep as they come, NaN where there is none: `[prompt, …the axes of the grid]`."""

    def __init__(
        self, hooked: HookedModel, asked: Prepared, progress: Reporter, method: Method, way: Resuming | None
    ) -> None:
        self.hooked, self.asked, self.method = hooked, asked, method
        self._progress, self._way = progress, way
        count = len(asked.base)
        shape = (count, *(len(axis.values) for axis in asked.laid.axes.values()))
        self.values = np.full(shape, np.nan)
        self.estimates = np.full(shape, np.nan)
        self.base = np.full(count, np.nan)
        self.other = np.full(count, np.nan)
        self.ways: set[str] = set()
        self.ran = 0
        self._done, self._total = 0, count * int(np.prod(shape[1:]))
        self._mean = self._means() if asked.grid.uses_mean else {}

    def prompt(self, index: int) -> None:
        """Measure every cell of one prompt."""
        asked, engine = self.asked, self.hooked.engine
        tokens, reading = asked.base[index], asked.readings[index]
        sites = list(asked.laid.sites)
        columns = _columns(tokens, reading)
        here, logits = read(engine, tokens, sites, columns)
        there: dict[Site, Tensor] = {}
        clean = logits
        if asked.other is not None:
            other = asked.other[index]
            wanted = sites if asked.grid.uses_other else []
            there, found = read(engine, other, wanted, _columns(other, reading))
            clean = found if asked.into == "corrupted" else logits
            self.other[index] = float(reading.value(found, clean)[0])
        self.base[index] = float(reading.value(logits, clean)[0])
        cells = list(asked.laid.cells(index, Read(here, there, self._mean)))
        if self.method != "run":
            attribution.check(cells)
            found = attribution.estimates(self.hooked, tokens, cells, here, reading, clean, columns)
            for cell, value in zip(cells, found.tolist(), strict=True):
                self.estimates[(index, *cell.place)] = value
        if self.method != "gradient":
            self._run(index, cells, here, clean, columns)

    def _run(self, index: int, cells: Sequence[Cell], here: dict[Site, Tensor], clean: Tensor, columns: Tensor) -> None:
        asked, tokens, frame = self.asked, self.asked.base[index], Frame(self.asked.base[index])
        changing = [cell for cell in cells if cell.changes(here, frame)]
        kept = {id(cell) for cell in changing}
        for cell in cells:
            if id(cell) not in kept:  # what is written is what is there
                self.values[(index, *cell.place)] = self.base[index]
        self._done += len(cells) - len(changing)
        self._progress.send(self._done, self._total, "cells")
        runs = CellRuns(self.hooked.engine, tokens, columns, asked.room, self._progress.check, self._way)
        self.ways.add(runs.way)
        paths = [cell for cell in changing if isinstance(cell, PathCell)]
        for part in received(runs, paths) if paths else [changing]:
            for chunk, logits in runs.logits(part):
                found = asked.readings[index].value(logits, clean)
                for cell, value in zip(chunk, found.tolist(), strict=True):
                    self.values[(index, *cell.place)] = value
                self.ran += len(chunk)
                self._done += len(chunk)
                self._progress.send(self._done, self._total, "cells")

    def _means(self) -> dict[Site, Tensor]:
        """The mean of each site over all tokens of all prompts of the run that is edited."""
        sums: dict[Site, Tensor] = {}
        count = 0
        for tokens, reading in self._progress.steps(
            list(zip(self.asked.base, self.asked.readings, strict=True)), "means"
        ):
            columns = _columns(tokens, reading)
            prompt = int(columns[0]) + 1
            for site, whole in read(self.hooked.engine, tokens, self.asked.laid.sites, columns)[0].items():
                total = whole[0, :prompt].double().sum(0)
                sums[site] = sums[site] + total if site in sums else total
            count += prompt
        return {site: total / count for site, total in sums.items()}


def _columns(tokens: TokenBatch, reading: Reading) -> Tensor:
    """Where the logits are read: after the prompt, and after each token that the metric puts after it."""
    return torch.arange(tokens.width - len(reading.after) - 1, tokens.width)
