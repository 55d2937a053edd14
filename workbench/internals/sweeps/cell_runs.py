"""The runs of many cells over one row of tokens: which go together, and from where each goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from ..edits import Frame
from ..engines.base import Engine
from ..tokens import TokenBatch
from .base_run import BaseRun
from .cells import Cell
from .reading import read
from .resuming import Resuming, resuming
from .whole_runs import one_by_one, whole_runs

TOGETHER = 16
"""Cells of neighbouring first positions are run together until there are so many: fewer leave weights half used."""


class CellRuns:
    """Runs cells over one row of tokens; `room` is how many tokens of edited rows are held at once.

    way: how runs go on from the kept one; None is as the engine can.
    """

    def __init__(
        self,
        engine: Engine,
        tokens: TokenBatch,
        columns: Tensor | None,
        room: int,
        check: Callable[[], None] | None = None,
        way: Resuming | None = None,
    ) -> None:
        self._engine, self._tokens, self._columns, self._room, self._check = engine, tokens, columns, room, check
        self.way = resuming(engine) if way is None else way
        self._base: BaseRun | None = None

    def logits(self, cells: Sequence[Cell]) -> Iterator[tuple[list[Cell], Tensor]]:
        """Some of the cells at a time with their logits `[cell, column, vocabulary]`, until all were given."""
        columns = self._columns
        assert columns is not None
        plain = [cell for cell in cells if cell.only_sites]
        for start, chunk in self._chunks(plain):
            found = self._run(chunk, columns, start)
            assert found is not None
            yield chunk, found
        for cell in cells:
            if not cell.only_sites:
                yield [cell], one_by_one(self._engine, self._tokens, [cell], columns)
                if self._check is not None:
                    self._check()

    def unedited(self, columns: Tensor) -> Tensor:
        """The logits `[1, column, vocabulary]` of the row as it is."""
        return read(self._engine, self._tokens, (), columns)[1]

    def until_read(self, cells: Sequence[Cell]) -> None:
        """Run cells whose edits read what is there, up to the last of these edits."""
        for start, chunk in self._chunks(cells):
            self._run(chunk, None, start)

    def _run(self, chunk: Sequence[Cell], columns: Tensor | None, start: int) -> Tensor | None:
        if self.way != "no":
            return self._kept.run(chunk, columns, start, self._check)
        if self._check is not None:
            self._check()
        return whole_runs(self._engine, self._tokens, chunk, columns)

    @property
    def _kept(self) -> BaseRun:
        if self._base is None:
            self._base = BaseRun.of(self._engine, self._tokens, prefix=self.way == "tokens")
        return self._base

    def _chunks(self, cells: Sequence[Cell]) -> Iterator[tuple[int, list[Cell]]]:
        """Cells that run together, with the position from which they run, as many as there is room for."""
        width, layers = self._tokens.width, self._engine.architecture.shape.layers
        for start, group in self._groups(cells):
            count = max(1, self._room // (width - start))
            group = sorted(group, key=lambda cell: cell.entry(layers))
            for first in range(0, len(group), count):
                yield start, group[first : first + count]

    def _groups(self, cells: Sequence[Cell]) -> Iterator[tuple[int, list[Cell]]]:
        if self.way != "tokens":
            yield 0, list(cells)
            return
        frame = Frame(self._tokens)
        last = self._tokens.width - 1 if self._columns is None else int(self._columns.min())
        by_first: dict[int, list[Cell]] = {}
        for cell in cells:
            by_first.setdefault(min(cell.first(frame), last), []).append(cell)
        start = 0
        group: list[Cell] = []
        for first in sorted(by_first):
            start = start if group else first
            group += by_first[first]
            if len(group) >= TOGETHER:
                yield start, group
                group = []
        if group:
            yield start, group


def kept_bytes(engine: Engine, width: int) -> int:
    """Bytes that the kept run of one row of `width` tokens takes: streams, outputs, keys and values of every block."""
    shape, size = engine.architecture.shape, next(engine.model.parameters()).element_size()
    values = shape.d_value or shape.d_head
    return size * width * shape.layers * (2 * shape.d_model + 2 * shape.kv_heads * (shape.d_head + values))


def token_bytes(engine: Engine, width: int) -> int:
    """Bytes that one token of an edited row takes at the most in a run over `width` tokens, logits left out."""
    shape, size = engine.architecture.shape, next(engine.model.parameters()).element_size()
    config = getattr(engine.model, "config", None)
    inner = getattr(config, "intermediate_size", None) or 4 * shape.d_model
    values = shape.d_value or shape.d_head
    block = 8 * shape.d_model + 3 * inner + 4 * shape.heads * (shape.d_head + values)
    keys = shape.layers * shape.kv_heads * (shape.d_head + values) * 2
    weights = 3 * shape.heads * min(width, 512)
    return size * (block + keys + weights)
