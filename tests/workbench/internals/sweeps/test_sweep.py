"""Sweeps against whole passes written out, in float64."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.conftest import tiny
from workbench.errors import Cancelled, UsageError
from workbench.internals import edits
from workbench.internals.sweeps import cell_runs
from workbench.progress import Reporter
from workbench.records import results
from workbench.statistics import mean_bounds

if TYPE_CHECKING:
    from workbench.internals.session import Session

CLEAN, CORRUPTED = [5, 17, 3, 44, 9, 58, 23], [5, 17, 30, 44, 9, 57, 23]
PAIRS = [CLEAN, [6, 7, 8, 9, 10, 11, 12]], [CORRUPTED, [6, 7, 18, 9, 10, 11, 13]]
DIFFERENCE = wb.metrics.logit_difference(7, 9)


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load(tiny("llama", torch.float64))


def difference(session: Session, row: list[int], made: Any = ()) -> float:
    logits = session.logits([row], [-1], made)[0, 0]
    return float(logits[7] - logits[9])


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(expected, np.float64), rtol=1e-9, atol=1e-9)


def test_patching_every_kind_layer_and_position_is_whole_passes(session: Session) -> None:
    kinds = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    found = session.sweep(*PAIRS, wb.grids.patch(kinds), DIFFERENCE)
    assert found.sizes == {"example": 2, "kind": 4, "layer": 3, "position": 7} and found.attrs["into"] == "corrupted"
    for example, (clean, corrupted) in enumerate(zip(*PAIRS, strict=True)):
        seen = session.capture([clean], [f"{kind}.*" for kind in kinds])
        base = difference(session, corrupted)
        close(found.base[example], base)
        close(found.other[example], difference(session, clean))
        for (i, kind), layer, at in product(enumerate(kinds), range(3), range(7)):
            site = f"{kind}.{layer}"
            made = edits.patch(site, seen[site][:, [at]], positions=[at])
            close(found.value[example, i, layer, at], difference(session, corrupted, made))
    effects = (found.value - found.base).values
    close(found.effect, effects.mean(0))
    low, high = mean_bounds(effects, np.random.default_rng(0))
    close(found.low, low)
    close(found.high, high)
    close(found.share, effects.mean(0) / float((found.other - found.base).mean()))
    results.check(wb_tree(found))


def wb_tree(found: Any) -> Any:
    import xarray as xr

    return xr.DataTree(found)


def test_the_other_direction_and_one_prompt_without_an_interval(session: Session) -> None:
    found = session.sweep(CLEAN, CORRUPTED, wb.grids.patch("resid_post", [1], [-1, 2]), DIFFERENCE, into="clean")
    seen = session.capture([CORRUPTED], "resid_post.1")["resid_post.1"]
    made = [edits.patch("resid_post.1", seen[:, [at]], positions=[at]) for at in (6, 2)]
    close(found.value[0, 0], [difference(session, CLEAN, one) for one in made])
    close(found.base, [difference(session, CLEAN)])
    assert found.position.values.tolist() == [6, 2] and bool(found.low.isnull().all())


def test_a_patch_from_the_same_prompt_changes_nothing_at_all(session: Session) -> None:
    found = session.sweep(CLEAN, CLEAN, wb.grids.patch(("resid_pre", "z"), each=False), DIFFERENCE)
    assert float(abs(found.effect).max()) == 0 and found.attrs["cells_run"] == 0 and "share" not in found


def test_cells_before_the_first_token_that_differs_are_not_run(session: Session) -> None:
    found = session.sweep(CLEAN, CORRUPTED, wb.grids.patch(), DIFFERENCE)
    assert float(abs(found.effect[:, :2]).max()) == 0 and bool((found.effect[:, 2] != 0).all())
    # of 21 cells: six before that token, and in the first layer three more tokens that are the same
    assert found.attrs["cells_run"] == 21 - 6 - 3


def test_heads_and_neurons(session: Session) -> None:
    by_head = session.sweep(CLEAN, CORRUPTED, wb.grids.patch("z", heads="all", each=False), DIFFERENCE)
    of_keys = session.sweep(CLEAN, CORRUPTED, wb.grids.patch("k", [2], heads=[1], positions=[2, 5]), DIFFERENCE)
    by_neuron = session.sweep(
        CLEAN, CORRUPTED, wb.grids.patch("mlp_post", [1], neurons=[0, 39], each=False), DIFFERENCE
    )
    assert by_head.effect.sizes == {"layer": 3, "head": 4} and of_keys.effect.shape == (1, 1, 2)
    seen = session.capture([CLEAN], ["z.*", "k.2", "mlp_post.1"])
    for layer, head in product(range(3), range(4)):
        made = edits.patch(f"z.{layer}.{head}", seen[f"z.{layer}"][:, :, head])
        close(by_head.value[0, layer, head], difference(session, CORRUPTED, made))
    made = edits.patch("k.2.1", seen["k.2"][:, [5], 1], positions=[5])
    close(of_keys.value[0, 0, 0, 1], difference(session, CORRUPTED, made))
    for index, neuron in enumerate((0, 39)):
        made = edits.patch(f"mlp_post.1.{neuron}", seen["mlp_post.1"][:, :, neuron])
        close(by_neuron.value[0, 0, index], difference(session, CORRUPTED, made))


def test_ablation_to_a_number_to_the_mean_and_to_the_other_run(session: Session) -> None:
    zero = session.sweep(PAIRS[0], None, wb.grids.ablate(), DIFFERENCE)
    mean = session.sweep(PAIRS[0], None, wb.grids.ablate(layers=[1], value="mean"), DIFFERENCE)
    other = session.sweep(*PAIRS, wb.grids.ablate([1], [3], value="other", positions=[-1]), DIFFERENCE)
    assert zero.sizes == {"example": 2, "layer": 3, "head": 4} and "other" not in zero
    assert other.attrs["into"] == "clean"
    average = session.capture(PAIRS[0], "z.1")["z.1"].mean((0, 1))
    for example, row in enumerate(PAIRS[0]):
        for layer, head in product(range(3), range(4)):
            close(zero.value[example, layer, head], difference(session, row, edits.set(f"z.{layer}.{head}", 0.0)))
        for head in range(4):
            close(mean.value[example, 0, head], difference(session, row, edits.set(f"z.1.{head}", average[head])))
        there = session.capture([PAIRS[1][example]], "z.1", [-1])["z.1"][:, :, 3]
        close(other.value[example, 0, 0], difference(session, row, edits.set("z.1.3", there, [-1])))


def test_sets_of_heads_and_edits_by_name(session: Session) -> None:
    sets = {"early": [(0, 1), (1, 2)], "late": [(2, 0)]}
    found = session.sweep(CLEAN, None, wb.grids.ablate(sets=sets), DIFFERENCE)
    assert found["set"].values.tolist() == ["early", "late"]
    both = [edits.set("z.0.1", 0.0), edits.set("z.1.2", 0.0)]
    close(found.value[0], [difference(session, CLEAN, both), difference(session, CLEAN, edits.set("z.2.0", 0.0))])
    named = {
        "blind": edits.knock_out([-1], [2, 3]),
        "many": [edits.scale("resid_pre.*", 0.9, [-1]), edits.knock_out(heads=[1], keys=[4], layers=[1])],
        "embedded": edits.scale("resid_mid.1", 1.5, [3]),
    }
    found = session.sweep([CLEAN], None, wb.grids.edits(named), DIFFERENCE)
    close(found.value[0], [difference(session, CLEAN, one) for one in named.values()])


def test_edits_given_row_by_row_are_those_of_each_prompt(session: Session) -> None:
    rows = [CLEAN, CLEAN[:5]]
    vectors = torch.randn(2, 1, 24, dtype=torch.float64)
    made = edits.add("resid_pre.1", vectors, [[2], [-1]])
    found = session.sweep(rows, None, wb.grids.edits({"one": made}), wb.metrics.log_probability([4, 6]))
    for example, (row, at) in enumerate(zip(rows, (2, 4), strict=True)):
        alone = edits.add("resid_pre.1", vectors[example : example + 1], [at])
        logits = session.logits([[*row, 4]], [-2, -1], alone)[0].log_softmax(-1)
        close(found.value[example, 0], float(logits[0, 4] + logits[1, 6]))


def test_places_align_prompts_of_different_lengths(session: Session) -> None:
    clean, corrupted = [CLEAN, CLEAN[:5]], [[1, *CORRUPTED], CORRUPTED[:5]]
    grid = wb.grids.patch("resid_pre", [1], {"subject": [[2, 3], 2], "end": -1})
    found = session.sweep(clean, corrupted, grid, DIFFERENCE, into="clean")
    assert found.place.values.tolist() == ["subject", "end"]
    for example, (subject, other) in enumerate(((2, 3), (2, 2))):
        seen = session.capture([corrupted[example]], "resid_pre.1")["resid_pre.1"]
        made = edits.patch("resid_pre.1", seen[:, [other]], positions=[subject])
        close(found.value[example, 0, 0], difference(session, clean[example], made))
        made = edits.patch("resid_pre.1", seen[:, [-1]], positions=[-1])
        close(found.value[example, 0, 1], difference(session, clean[example], made))
    ends = session.sweep(clean, corrupted, wb.grids.patch("resid_pre", [1], [-1]), DIFFERENCE, into="clean")
    close(ends.value[:, 0, 0], found.value[:, 0, 1])


def test_metrics(session: Session) -> None:
    grid = wb.grids.patch("resid_pre", [1], [2])
    seen = session.capture([CLEAN], "resid_pre.1")["resid_pre.1"]
    made = edits.patch("resid_pre.1", seen[:, [2]], positions=[2])
    answer = [4, 11, 6]
    found = session.sweep(CLEAN, CORRUPTED, grid, wb.metrics.log_probability(answer))
    said = session.answer_logprobs([CORRUPTED], [[answer]], edits=[made]).sum
    close(found.value[0, 0, 0], said[0, 0])
    logits, clean = (session.logits([row], [-1], one)[0, 0] for row, one in ((CORRUPTED, made), (CLEAN, ())))
    apart = torch.nn.functional.kl_div(logits.log_softmax(-1), clean.log_softmax(-1), log_target=True, reduction="sum")
    found = session.sweep(CLEAN, CORRUPTED, grid, wb.metrics.divergence())
    close(found.value[0, 0, 0], apart)
    assert abs(float(found.other[0])) < 1e-12 < float(found.base[0])
    found = session.sweep(CLEAN, CORRUPTED, grid, lambda logits: logits.max(-1).values)
    close(found.value[0, 0, 0], logits.max())


def test_the_estimate_is_the_slope_of_the_effect(session: Session) -> None:
    close_by = [CLEAN, PAIRS[0][1]]
    tiny_step = {f"{layer}": edits.add(f"resid_pre.{layer}", 1e-6 * torch.ones(24, dtype=torch.float64), [3])
                 for layer in range(3)}  # fmt: skip
    found = session.sweep(close_by, None, wb.grids.edits(tiny_step), DIFFERENCE, method="both")
    np.testing.assert_allclose(found.estimated_effect, found.effect, rtol=1e-4)
    assert float(found.rank_correlation) == pytest.approx(1)


def test_the_estimate_alone_runs_no_cell_and_is_difference_times_gradient(session: Session) -> None:
    found = session.sweep(CLEAN, CORRUPTED, wb.grids.patch("z", heads="all"), DIFFERENCE, method="gradient")
    clean, corrupted = (session.capture([row], "z.*") for row in (CLEAN, CORRUPTED))
    slopes = session.gradients([CORRUPTED], "z.*", lambda logits: logits[0, -1, 7] - logits[0, -1, 9])
    for layer in range(3):
        site = f"z.{layer}"
        close(found.estimated_effect[layer], ((clean[site] - corrupted[site]) * slopes[site])[0].sum(-1).T)
    assert "effect" not in found and found.attrs["cells_run"] == 0


def test_memory_bounds_the_rows_and_nothing_else(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = session.sweep(CLEAN, CORRUPTED, wb.grids.patch(), DIFFERENCE)
    rooms: list[int] = []
    made = cell_runs.CellRuns.__init__

    def noted(self: Any, engine: Any, tokens: Any, columns: Tensor, room: int, *rest: Any) -> None:
        rooms.append(room)
        made(self, engine, tokens, columns, room, *rest)

    monkeypatch.setattr(cell_runs.CellRuns, "__init__", noted)
    with pytest.raises(UsageError, match="shorter prompts"):
        session.sweep(CLEAN, CORRUPTED, wb.grids.patch(), DIFFERENCE, memory=1000)
    assert not rooms
    small = session.sweep(CLEAN, CORRUPTED, wb.grids.patch(), DIFFERENCE, memory="200KiB")
    assert rooms and rooms[0] < 100
    close(small.value, whole.value)


@pytest.mark.parametrize("engine", ["transformerlens", "nnsight"])
def test_other_engines_run_whole_passes(engine: str) -> None:
    session = wb.load(tiny("llama"))
    grid = wb.grids.patch("resid_pre", positions=[2, -1])
    found = session.sweep(CLEAN, CORRUPTED, grid, DIFFERENCE, engine=engine)
    own = session.sweep(CLEAN, CORRUPTED, grid, DIFFERENCE)
    assert found.attrs["runs_go_on_from"] == "no" and own.attrs["runs_go_on_from"] == "tokens"
    np.testing.assert_allclose(found.value, own.value, atol=1e-4)


def test_progress_counts_cells_and_a_sweep_can_be_cancelled(session: Session) -> None:
    seen: list[tuple[str, int, int]] = []
    session.sweep(
        *PAIRS, wb.grids.patch(), DIFFERENCE, progress=Reporter(lambda p: seen.append((p.stage, p.done, p.total)))
    )
    cells = [one for one in seen if one[0] == "cells"]
    assert cells[-1] == ("cells", 42, 42) and [done for _, done, _ in cells] == sorted(done for _, done, _ in cells)
    reporter = Reporter()
    reporter.cancelled.set()
    with pytest.raises(Cancelled):
        session.sweep(CLEAN, CORRUPTED, wb.grids.patch(), DIFFERENCE, progress=reporter)


def test_a_layer_with_fewer_heads_has_no_value_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tiny_families import family

    session = wb.load(family("nemotron_h"))
    found = session.sweep(CLEAN, CORRUPTED, wb.grids.patch(("z", "mlp_out"), positions=[-1]), DIFFERENCE)
    empty = found.effect.isnull().any("position")
    assert empty.sel(kind="z").values.sum() == len(found.layer) - 1 and math.isnan(float(found.low[0, 0, 0]))
