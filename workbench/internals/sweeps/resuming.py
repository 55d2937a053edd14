"""A check, once an engine, that runs which go on from a kept run give what whole runs give."""

from __future__ import annotations

from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .. import check_text
from ..architectures import Architecture, bare
from ..edits import Edit, Frame
from ..engines.base import Engine, Inputs
from ..sites import Site
from ..tokens import TokenBatch
from ..values import ValueBatch
from .base_run import BaseRun
from .cells import Cell, row_hooks

Resuming = Literal["tokens", "blocks", "no"]
"""From the first edited token and block on, from the first edited block on, or not at all."""
START = 5
"""How many tokens come before the first edited one in the check."""

_made: WeakKeyDictionary[Engine, tuple[Architecture, Resuming]] = WeakKeyDictionary()


def resuming(engine: Engine) -> Resuming:
    """How the runs of cells may go on from a kept run on this engine; where not at all, each is run whole."""
    engine.refresh()
    of, found = _made.get(engine, (None, None))
    if found is None or of is not engine.architecture:
        found = _check(engine)
        _made[engine] = engine.architecture, found
    return found


def _check(engine: Engine) -> Resuming:
    layers = engine.architecture.shape.layers
    streams = all({"resid_pre", "resid_post"} <= set(layer.places) for layer in engine.architecture.layers)
    if engine.name != "hf" or not streams or "resid_pre" in engine.architecture.absent:
        return "no"
    with torch.no_grad(), engine.as_it_is(), check_text.lowered(bare(engine.model), check_text.SHORT):
        ids = check_text.rows(engine.model, check_text.SHORT)[:1]
        batch = TokenBatch if engine.read_in is None else ValueBatch
        tokens = batch(ids, torch.tensor([ids.shape[1]]))
        entered = _layers(engine)
        coarse = torch.finfo(next(engine.model.parameters()).dtype).eps > 1e-4
        expected: list[Tensor] = []
        cells = _cells(entered, layers, engine, expected)
        repeated = tokens.ids.expand(len(cells), *tokens.ids.shape[1:])
        logits = engine.run(Inputs(repeated), row_hooks(cells, Frame(tokens)), logits=_last(tokens))
        assert logits is not None
        expected += logits.double().cpu()
        ways: tuple[tuple[Resuming, int], ...] = (("tokens", START), ("blocks", 0))
        if engine.architecture.length_dependent is not None:
            ways = ways[1:]
        for way, start in ways:
            found: list[Tensor] = []
            cells = _cells(entered, layers, engine, found)
            if _runs(engine, tokens, cells, start, found) and _agree(found, expected, coarse):
                return way
    return "no"


def _layers(engine: Engine) -> list[int]:
    """The blocks that are entered in the check: the first of each form, one in the middle and the last."""
    forms: dict[object, int] = {}
    for layer in engine.architecture.layers:
        forms.setdefault((layer.kind, layer.reach, layer.kv_source is None, tuple(layer.places)), layer.index)
    count = engine.architecture.shape.layers
    return sorted({0, count // 2, count - 1, *forms.values()})


def _cells(entered: list[int], layers: int, engine: Engine, ends: list[Tensor]) -> list[Cell]:
    """A cell for each block that is entered, with noise at one token; it leaves the last block's stream in `ends`."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(len(entered), engine.architecture.shape.d_model, generator=generator)

    def edit(row: int, layer: int) -> Cell:
        def louder(now: Tensor) -> Tensor:
            return now + 0.5 * now.norm(dim=-1, keepdim=True) * torch.nn.functional.normalize(noise[row], dim=0).to(now)

        def keep(now: Tensor) -> None:
            ends.append(now[0, START:].detach().double().cpu())

        return Cell(
            (row,),
            (
                Edit(Site("resid_pre", layer), "apply", louder, positions=(START + 1 + row % 3,)),
                Edit(Site("resid_post", layers - 1), "apply", keep),
            ),
        )

    return [edit(row, layer) for row, layer in enumerate(entered)]


def _last(tokens: TokenBatch) -> Tensor:
    return torch.tensor([tokens.width - 1])


def _runs(engine: Engine, tokens: TokenBatch, cells: list[Cell], start: int, ends: list[Tensor]) -> bool:
    """Whether cells run from a kept run at all; their logits go to `ends`, too."""
    try:
        logits = BaseRun.of(engine, tokens, prefix=start > 0).run(cells, _last(tokens), start)
        assert logits is not None
        ends += logits.double().cpu()
    except Exception:  # a model's own code may say anything when it is entered in the middle
        return False
    return True


def _agree(found: list[Tensor], expected: list[Tensor], coarse: bool) -> bool:
    """Whether every token of every row ends as it should, and its logits too unless they are rounding."""
    if len(found) != len(expected):
        return False
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape or not bool(
            ((one - other).norm(dim=-1) <= (0.1 if coarse else 1e-3) * other.norm(dim=-1) + 1e-4).all()
        ):
            return False
    return True
