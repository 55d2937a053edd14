"""Path patching against sums over the residual stream and against whole passes, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import SiteError, UsageError
from workbench.internals import edits

if TYPE_CHECKING:
    from workbench.internals.session import Session

CLEAN, CORRUPTED = [5, 17, 3, 44, 9, 58, 23], [5, 17, 30, 44, 9, 57, 23]
DIFFERENCE = wb.metrics.logit_difference(7, 9)


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load(tiny("llama", torch.float64))


def difference(session: Session, row: list[int], made: Any = ()) -> float:
    logits = session.logits([row], [-1], made)[0, 0]
    return float(logits[7] - logits[9])


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(expected, np.float64), rtol=1e-9, atol=1e-9)


def written(session: Session, layer: int, head: int) -> torch.Tensor:
    """How much more the other run's head writes into the stream, `[position, d_model]`, by its output weights."""
    clean, corrupted = (session.capture([row], f"z.{layer}")[f"z.{layer}"][0, :, head] for row in (CLEAN, CORRUPTED))
    return (corrupted - clean) @ session.weight(f"W_O.{layer}.{head}")


def test_the_direct_path_is_what_a_head_writes_added_where_it_is_received(session: Session) -> None:
    grid = wb.grids.paths("heads", ["resid_pre.2", "logits"], through=())
    found = session.sweep(CLEAN, CORRUPTED, grid, DIFFERENCE)
    assert found.effect.sizes == {"layer": 3, "head": 4, "receiver": 2} and found.attrs["into"] == "clean"
    for layer in range(3):
        for head in range(4):
            more = written(session, layer, head)[None]
            close(found.value[0, layer, head, 1], difference(session, CLEAN, edits.add("resid_post.2", more)))
            if layer < 2:
                close(found.value[0, layer, head, 0], difference(session, CLEAN, edits.add("resid_pre.2", more)))
    assert bool(found.effect[2, :, 0].isnull().all())


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_a_head_receives_in_its_queries_keys_or_values_alone(session: Session, part: str) -> None:
    found = session.sweep(
        CLEAN, CORRUPTED, wb.grids.paths(["z.0.1", "mlp_out.0"], f"{part}.2.1", through=()), DIFFERENCE
    )
    clean, corrupted = (session.capture([row], "mlp_out.0")["mlp_out.0"] for row in (CLEAN, CORRUPTED))
    for index, more in enumerate((written(session, 0, 1)[None], corrupted - clean)):
        there = session.capture([CLEAN], f"{part}.2", edits=edits.add("resid_pre.2", more))[f"{part}.2"][:, :, 1]
        close(found.value[0, index], difference(session, CLEAN, edits.set(f"{part}.2.1", there)))


def test_paths_through_both_are_the_whole_effect_of_a_sender(session: Session) -> None:
    every = session.sweep(CLEAN, CORRUPTED, wb.grids.paths(through=("attention", "mlp")), DIFFERENCE)
    whole = session.sweep(CLEAN, CORRUPTED, wb.grids.patch("z", heads="all", each=False), DIFFERENCE, into="clean")
    close(every.effect, whole.effect)


@pytest.mark.parametrize(("through", "held"), [(("mlp",), "attn_out"), ("attention", "mlp_out")])
def test_what_a_path_does_not_go_through_is_held(session: Session, through: Any, held: str) -> None:
    found = session.sweep(CLEAN, CORRUPTED, wb.grids.paths("z.0.2", "resid_mid.2", through=through), DIFFERENCE)
    seen = session.capture([CLEAN], [f"{held}.*"])
    sent = edits.patch("z.0.2", session.capture([CORRUPTED], "z.0")["z.0"][:, :, 2])
    fixed = [edits.patch(f"{held}.{layer}", seen[f"{held}.{layer}"])
             for layer in ((1, 2) if held == "attn_out" else (0, 1))]  # fmt: skip
    there = session.capture([CLEAN], "resid_mid.2", edits=[sent, *fixed])["resid_mid.2"]
    close(found.value[0], difference(session, CLEAN, edits.set("resid_mid.2", there)))
    direct = session.sweep(CLEAN, CORRUPTED, wb.grids.paths("z.0.2", "resid_mid.2", through=()), DIFFERENCE)
    assert abs(float(found.effect[0]) - float(direct.effect[0])) > 1e-3


def test_some_positions_of_a_sender_and_the_same_prompt(session: Session) -> None:
    grid = wb.grids.paths("mlps", "logits", positions=[5])
    found = session.sweep(CLEAN, CORRUPTED, grid, DIFFERENCE)
    for layer in range(3):
        site = f"mlp_out.{layer}"
        sent = edits.patch(site, session.capture([CORRUPTED], site, [5])[site], positions=[5])
        seen = session.capture([CLEAN], "attn_out.*")
        held = [edits.patch(f"attn_out.{at}", seen[f"attn_out.{at}"]) for at in range(layer + 1, 3)]
        close(found.value[0, layer], difference(session, CLEAN, [sent, *held]))
    same = session.sweep(CLEAN, CLEAN, grid, DIFFERENCE)
    assert float(abs(same.effect).max()) == 0 and same.attrs["cells_run"] == 0


@pytest.mark.parametrize(
    ("senders", "receivers", "options", "error", "said"),
    [
        ("z.2.0", "q.1.0", {}, UsageError, "no sender is before"),
        ("q.1.0", "logits", {}, UsageError, "a sender is one of"),
        ("z.1.0", "embed", {}, UsageError, "a receiver is one of"),
        ("z.1.0", "logits", {"through": "heads"}, UsageError, "goes through attention and mlp"),
        (["z.1.0", "z.1.0"], "logits", {}, UsageError, "given once"),
        ("z.1.9", "logits", {}, SiteError, "no head 9"),
        ("z.1.0", "q.7.0", {}, SiteError, "no layer 7"),
    ],
)
def test_paths_that_cannot_be(
    session: Session, senders: Any, receivers: Any, options: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        session.sweep(CLEAN, CORRUPTED, wb.grids.paths(senders, receivers, **options), DIFFERENCE)


def test_a_path_has_no_gradient_estimate(session: Session) -> None:
    with pytest.raises(UsageError, match="on all its paths"):
        session.sweep(CLEAN, CORRUPTED, wb.grids.paths(), DIFFERENCE, method="both")
