"""Runs that go on from a kept one against whole runs, one by one, in float64: every family, every way."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, hooked, tiny
from tests.tiny_families import FAMILIES, family
from workbench.internals import edits
from workbench.internals.edits import Edit, Frame
from workbench.internals.sites import KINDS, Site
from workbench.internals.sweeps.cell_runs import CellRuns
from workbench.internals.sweeps.cells import Cell
from workbench.internals.sweeps.resuming import resuming
from workbench.internals.tokens import TokenBatch

if TYPE_CHECKING:
    from workbench.internals.hooked_model import HookedModel

ROW = [5, 17, 3, 44, 9, 58, 23, 31, 7, 12, 40]
COLUMNS = torch.tensor([9, 10])
WHOLE = {"gemma3n", "gemma4", "bloom", "gpt_bigcode"}
"""Families in which rows cannot join a batch, or blocks are handed keys of one that was passed over."""
FROM_BLOCKS = {
    "falcon_h1", "qwen3_next", "qwen3_5", "nemotron_h", "granite 4", "jamba", "bamba", "lfm2", "deepseek_v32", "mamba",
}  # fmt: skip
"""Families with a state, or an index of keys, that is not kept token by token."""

SINGLE = {"qwen3_next", "qwen3_5", "granite 4", "jamba", "gpt_oss", "deepseek_v3", "deepseek_v32"}
"""Families whose experts or states are computed by functions that have no float64."""


@cache
def model_of(name: str) -> HookedModel:
    if name in TINY:
        return hooked(tiny(name, torch.float64))
    return hooked(family(name) if name in SINGLE else family(name).double())


def cells_of(model: HookedModel) -> list[Cell]:
    """Edits of every kind that the model has, one or several in a cell, at one position, at several and at all."""
    generator = torch.Generator().manual_seed(1)
    engine, layers = model.engine, model.shape.layers
    kinds = [kind for kind in engine.kinds() if kind in KINDS and kind not in ("scores", "pattern", "logits", "embed")]
    seen = model.capture([ROW[::-1]], [Site(kind, layer) for kind in kinds for layer in _layers(model, kind)])
    found: list[Cell] = []
    for kind in kinds:
        for layer in _layers(model, kind):
            site = Site(kind, layer)
            value = seen[site]
            at = int(torch.randint(11, (), generator=generator))
            found.append(Cell((len(found),), (Edit(site, "patch", value[:, [at]], positions=(at,)),)))
            found.append(Cell((len(found),), (Edit(site, "scale", 0.7, positions=(-1, 3)),)))
    found.append(Cell((len(found),), (edits.add("resid_pre.0", 0.5),)))
    last = Site("resid_post", layers - 1)
    found.append(Cell((len(found),), (edits.scale(last, 1.3, [9]), edits.add("resid_pre.1", 0.2, [7, 10]))))
    return [cell for cell in found if all(edit.site.kind in kinds for edit in cell.at_sites)]


def _layers(model: HookedModel, kind: str) -> list[int | None]:
    return [None] if kind == "final_norm" else list(model.architecture.layers_with(kind))


def one_by_one(model: HookedModel, cells: list[Cell]) -> Tensor:
    return torch.cat([model.logits([ROW], COLUMNS.tolist(), list(cell.edits)) for cell in cells])


def run(model: HookedModel, cells: list[Cell], way: str | None, room: int = 1 << 20) -> Tensor:
    runs = CellRuns(model.engine, TokenBatch.of([ROW]), COLUMNS, room, way=way)  # type: ignore[arg-type]
    found: dict[int, Tensor] = {}
    with model.engine.held():
        for chunk, logits in runs.logits(cells):
            found |= {cell.place[0]: row for cell, row in zip(chunk, logits, strict=True)}
    assert sorted(found) == list(range(len(cells)))
    return torch.stack([found[index] for index in range(len(cells))])


@pytest.mark.parametrize("name", [*TINY, *FAMILIES])
def test_runs_that_go_on_are_whole_runs_of_every_family(name: str) -> None:
    model = model_of(name)
    way = "no" if name in WHOLE else "blocks" if name in FROM_BLOCKS else "tokens"
    assert resuming(model.engine) == way
    cells = cells_of(model)
    expected = one_by_one(model, cells)
    assert len(cells) > 10 and float((expected - model.logits([ROW], COLUMNS.tolist())).abs().max()) > 0.1
    # other families' own code computes norms and rotations in float32, whatever the weights are
    bound = 1e-9 if name in TINY else 1e-4 if name in SINGLE else 2e-6
    torch.testing.assert_close(run(model, cells, None), expected, rtol=bound, atol=bound)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_every_way_gives_the_same_however_many_rows_there_is_room_for(name: str) -> None:
    model = model_of(name)
    cells = cells_of(model)
    expected = one_by_one(model, cells)
    for way in ("tokens", "blocks", "no"):
        for room in (1, 60):
            torch.testing.assert_close(run(model, cells, way, room), expected, rtol=1e-9, atol=1e-9)


def test_nothing_below_the_edited_block_and_before_the_edited_token_runs_again() -> None:
    model = model_of("llama")
    rows: dict[int, list[tuple[int, ...]]] = {0: [], 1: [], 2: []}
    runs = CellRuns(model.engine, TokenBatch.of([ROW]), COLUMNS, 1 << 20)
    one = [Cell((0,), (edits.add("resid_pre.1", 1.0, [6]),)), Cell((1,), (edits.add("resid_pre.2", 1.0, [6]),))]
    list(runs.logits(one))  # the kept run is made at the first
    blocks = model.engine.model.model.layers  # type: ignore[union-attr]
    with model.engine.held(), ExitStack() as stack:
        for at, block in enumerate(blocks):  # type: ignore[arg-type]
            see = lambda _, args, __, at=at: rows[at].append(tuple(args[0].shape[:2]))  # noqa: E731
            stack.callback(block.input_layernorm.register_forward_hook(see).remove)  # type: ignore[union-attr]
        list(runs.logits(one))
    assert rows == {0: [], 1: [(1, 5)], 2: [(2, 5)]}


def test_the_model_is_as_it_was_after_a_run_that_fails() -> None:
    model = model_of("llama")
    before = model.logits([ROW])

    def fail(_: Tensor) -> None:
        raise RuntimeError("from within")

    cell = Cell((0,), (Edit(Site("z", 2), "apply", fail, positions=(6,)),))
    with pytest.raises(RuntimeError, match="from within"):
        run(model, [cell], "tokens")
    assert torch.equal(model.logits([ROW]), before)
    assert all("forward" not in vars(block) for block in model.engine.model.model.layers)  # type: ignore[union-attr]


def test_a_cell_that_writes_what_is_there_changes_nothing() -> None:
    model = model_of("llama")
    seen = model.capture([ROW], ["z.1", "resid_pre.2"])
    base = {Site("z", 1): seen["z.1"], Site("resid_pre", 2): seen["resid_pre.2"]}
    frame = Frame(TokenBatch.of([ROW]))
    same = edits.patch("z.1.2", seen["z.1"][:, [4], 2], positions=[4])
    assert not Cell((0,), (same,)).changes(base, frame)
    assert Cell((0,), (same, edits.add("resid_pre.2", 1e-9, [3]))).changes(base, frame)
    assert Cell((0,), (edits.apply("z.1", lambda now: None),)).changes(base, frame)
