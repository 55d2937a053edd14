"""Edits at sites: scale, clamp, project_out and functions, positions row by row, steps of generation, what learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conftest import hooked, tiny
from workbench.errors import SiteError, UsageError
from workbench.internals import edits
from workbench.internals.hooked_model import HookedModel

ROW = [5, 17, 3, 44, 9, 58, 23]
SITE = "resid_post.1"


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return hooked(tiny("llama", torch.float64))


def changed(model: HookedModel, edit: Any, site: str = SITE, ids: Any = ROW) -> tuple[torch.Tensor, torch.Tensor]:
    """What was at a site, and what is there with an edit."""
    return model.capture(ids, site)[site], model.capture(ids, site, edits=edit)[site]


def test_what_each_edit_makes(model: HookedModel) -> None:
    before, after = changed(model, edits.scale(SITE, -2.0, positions=[1, -1]))
    expected = before.clone()
    expected[:, [1, 6]] *= -2
    torch.testing.assert_close(after, expected)
    before, after = changed(model, edits.clamp(SITE, -0.5, 0.25))
    torch.testing.assert_close(after, before.clamp(-0.5, 0.25))
    before, after = changed(model, edits.apply(SITE, torch.relu, positions=[2]))
    torch.testing.assert_close(after[:, 2], before[:, 2].relu())
    assert torch.equal(after[:, [0, 1, 3, 4, 5, 6]], before[:, [0, 1, 3, 4, 5, 6]])
    assert torch.equal(*changed(model, edits.apply(SITE, lambda whole: None)))


def test_projecting_out_leaves_nothing_in_the_span(model: HookedModel) -> None:
    directions = torch.randn(3, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before, after = changed(model, edits.project_out(SITE, directions))
    assert (after @ directions.T).abs().max() < 1e-10
    span = torch.linalg.lstsq(directions.T, (before - after)[0].T).solution
    torch.testing.assert_close((directions.T @ span).T, (before - after)[0])
    with pytest.raises(UsageError, match="depend on one another"):
        edits.project_out(SITE, [directions[0], 2 * directions[0]])


def test_positions_may_be_given_row_by_row(model: HookedModel) -> None:
    rows = [ROW, ROW[:4]]
    before, after = changed(model, edits.set(SITE, 0.0, positions=[[1, -1], [-2]]), ids=rows)
    expected = before.clone()
    expected[0, [1, 6]] = 0
    expected[1, 2] = 0
    assert torch.equal(after, expected)
    with pytest.raises(UsageError, match="2 rows"):
        changed(model, edits.set(SITE, 0.0, positions=[[1], [2]]), ids=[ROW] * 3)


def test_edits_at_one_site_act_in_the_order_given(model: HookedModel) -> None:
    made = [edits.add(SITE, 1.0), edits.scale(SITE, 3.0)]
    before, after = changed(model, made)
    torch.testing.assert_close(after, 3 * (before + 1))
    torch.testing.assert_close(changed(model, made[::-1])[1], 3 * before + 1)


def test_a_pattern_of_sites_is_each_of_them(model: HookedModel) -> None:
    seen = model.capture(ROW, "z.*", edits=edits.set("z.0-1.1,3", 0.0))
    assert [bool((seen[f"z.{layer}"][:, :, 1] == 0).all()) for layer in range(3)] == [True, True, False]
    one = model.capture(ROW, "mlp_post.1.5", edits=edits.set("mlp_post.1.5", 2.5))["mlp_post.1.5"]
    assert one.shape == (1, len(ROW)) and bool((one == 2.5).all())
    with pytest.raises(SiteError, match="no neuron 40"):
        model.capture(ROW, "mlp_post.1.40")


def test_steps_of_generation_are_edited_and_read(model: HookedModel) -> None:
    made = edits.add(SITE, 4.0, during=range(1, 3))
    plain = model.generate(ROW, 5, stop=(), sites=[SITE, "pattern.1"])
    edited = model.generate(ROW, 5, [made], stop=(), sites=[SITE, "pattern.1"])
    assert plain.seen is not None and edited.seen is not None
    text = ROW + plain.rows()[0]
    whole = model.capture(text[:-1], [SITE, "pattern.1"], positions=range(len(ROW) - 1, len(text) - 1))
    torch.testing.assert_close(plain.seen[SITE], whole[SITE])
    torch.testing.assert_close(plain.seen["pattern.1"], whole["pattern.1"])
    assert edited.rows()[0][:2] == plain.rows()[0][:2]
    torch.testing.assert_close(edited.seen[SITE][:, :2], plain.seen[SITE][:, :2])
    moved = (edited.seen[SITE] - plain.seen[SITE])[:, 2]
    torch.testing.assert_close(moved, torch.full_like(moved, 4.0))


def test_a_vector_is_learnt_through_an_edit(model: HookedModel) -> None:
    vector = torch.zeros(24, dtype=torch.float64, requires_grad=True)
    made = edits.add(SITE, vector, positions=[-1])
    model.logits(ROW, [-1], edits=made)[0, 0, 7].backward()
    expected = model.gradients(ROW, SITE, lambda logits: logits[0, -1, 7], edits=made)[SITE][0, -1]
    assert vector.grad is not None
    torch.testing.assert_close(vector.grad, expected)
    assert not any(parameter.grad is not None for parameter in model.engine.model.parameters())
    with pytest.raises(UsageError, match="takes no gradient"):
        model.generate(ROW, 2, made)


def test_edits_are_read_back_from_json() -> None:
    for made in (
        edits.scale(SITE, 2.0, positions=[[1], [2, 3]]),
        edits.add("z.*.1", torch.arange(8.0), during=range(2, 4)),
        edits.knock_out([-1], range(3), [1], [2]),
        edits.window(4, 1),
        edits.shift_positions(7, tokens=[2]),
    ):
        assert edits.of_json(made.json()) == made
    with pytest.raises(UsageError, match="only names"):
        edits.of_json(edits.apply(SITE, torch.relu).json())


def test_what_is_no_edit_is_told(model: HookedModel) -> None:
    with pytest.raises(UsageError, match="edits are made by"):
        model.logits(ROW, edits=["z.1"])  # type: ignore[list-item]
    for wrong in (
        lambda: edits.clamp(SITE),
        lambda: edits.clamp(SITE, 2, 1),
        lambda: edits.apply(SITE, 3),  # type: ignore[arg-type]
        lambda: edits.set(SITE, "a"),  # type: ignore[arg-type]
        lambda: edits.add(SITE, 1.0, during=-1),
        lambda: edits.project_out(SITE, torch.zeros(24)),
    ):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(SiteError, match="read-only"):
        edits.scale("pattern.1", 2.0)
    with pytest.raises(UsageError, match="returned"):
        model.logits(ROW, edits=edits.apply(SITE, lambda whole: whole[:, :1]))
