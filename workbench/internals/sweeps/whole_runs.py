"""Cells by whole runs: the plain way, and the only one where a run cannot be entered in the middle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..edits import Frame
from ..engines.base import Engine, Inputs
from ..hooks import prepare
from ..tokens import TokenBatch
from .cells import Cell, row_hooks


def whole_runs(engine: Engine, tokens: TokenBatch, cells: Sequence[Cell], columns: Tensor | None) -> Tensor | None:
    """The logits `[cell, column, vocabulary]` of cells that edit sites, as rows of one batch of one row of tokens.

    Without `columns` the run ends with the last edit.
    """
    ids = tokens.ids.expand(len(cells), *tokens.ids.shape[1:])
    with torch.no_grad():
        asked = False if columns is None else columns
        return engine.run(Inputs(ids), row_hooks(cells, Frame(tokens)), logits=asked)


def one_by_one(engine: Engine, tokens: TokenBatch, cells: Sequence[Cell], columns: Tensor) -> Tensor:
    """The same of any cells, each in a run of its own."""
    found = []
    for cell in cells:
        with torch.no_grad():
            ready = prepare(engine, list(cell.edits), Frame(tokens))
            inputs = Inputs(tokens.ids, positions=ready.positions(tokens.width))
            logits = engine.run(inputs, ready.hooks, logits=columns)
        assert logits is not None
        found.append(logits)
    return torch.cat(found)
