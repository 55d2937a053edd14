"""Edits of attention against attention written out in float64: every architecture, short and by the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from tests.conftest import hooked, tiny
from tests.workbench.internals.edited_reference import Dense, run
from workbench.internals import edited_attention, edits
from workbench.internals.edits import AttentionEdit
from workbench.internals.hooked_model import HookedModel
from workbench.kernels import streaming_attention

NAMES = ("llama", "qwen2", "mistral", "gemma2", "gpt2", "gpt_neox", "phi3")
ROW = [5, 17, 3, 44, 9, 58, 23, 31, 7, 12, 40, 21]
OTHER = [6, 18, 4, 45, 10, 59, 24, 32, 8, 13, 41, 22]
DOCUMENTS = [-1, 0, 0, 0, 1, 1, 1, 2, 2, 2, -1, -1]
SEES = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)


@pytest.fixture(params=["rows", "kernels"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once row by row in float64, once in float32 by the kernels."""
    monkeypatch.setattr(edited_attention, "SMALL", 0 if request.param == "kernels" else 1 << 40)
    return request.param


@cache
def model_of(name: str, path: str) -> HookedModel:
    return hooked(tiny(name, torch.float32 if path == "kernels" else torch.float64))


@cache
def plain(name: str) -> tuple[Tensor, dict[int, Tensor]]:
    return run(name, ROW, Dense())


def tolerance(path: str) -> dict[str, float]:
    return {"rtol": 1e-9, "atol": 1e-9} if path == "rows" else {"rtol": 2e-5, "atol": 2e-5}


def close(found: Tensor, expected: Tensor, path: str = "rows") -> None:
    torch.testing.assert_close(found.double(), expected.double(), **tolerance(path))


def rectangle(matrix: Tensor, queries: Sequence[int], keys: Sequence[int], heads: Sequence[int]) -> Tensor:
    """True at the queries and keys of some heads."""
    found = torch.zeros(matrix.shape, dtype=torch.bool)
    for head in heads:
        for query in queries:
            for key in keys:
                found[:, head, query, key] = True
    return found


def in_layers(layers: Sequence[int], change: Callable[[Tensor], Tensor]) -> Callable[[int, Tensor], Tensor]:
    return lambda layer, matrix: change(matrix) if layer in layers else matrix


def hiding(layers: Sequence[int], hide: Callable[[Tensor], Tensor]) -> Callable[[int, Tensor], Tensor]:
    return lambda layer, visible: hide(visible) if layer in layers else torch.zeros_like(visible)


def streaming(visible: Tensor, recent: int, sinks: int, heads: Sequence[int]) -> Tensor:
    gap = torch.arange(visible.shape[2])[:, None] - torch.arange(visible.shape[3])
    far = (gap >= recent) & (torch.arange(visible.shape[3]) >= sinks)
    found = torch.zeros_like(visible)
    found[:, heads] = far
    return found


def by_document(visible: Tensor, sees: Tensor | None) -> Tensor:
    found = torch.zeros_like(visible)
    for query, mine in enumerate(DOCUMENTS):
        for key, its in enumerate(DOCUMENTS):
            apart = mine != its if sees is None else mine >= 0 and its >= 0 and not sees[mine, its]
            found[:, :, query, key] = mine >= 0 and its >= 0 and bool(apart)
    return found


ALL, LAYERS, HEADS = range(12), [0, 2], [1, 2]
CASES: dict[str, tuple[list[AttentionEdit], Dense]] = {
    "knock-out": (
        [edits.knock_out([-1, 5], [2, 3], LAYERS, HEADS)],
        Dense(hidden=hiding(LAYERS, lambda m: rectangle(m, [11, 5], [2, 3], HEADS))),
    ),
    "without renormalising": (
        [edits.knock_out([-1, 7, 2], [2, 3, 0], LAYERS, renormalise=False)],
        Dense(weights=in_layers(LAYERS, lambda m: m * ~rectangle(m, [11, 7, 2], [2, 3, 0], range(4)))),
    ),
    "scores scaled and raised": (
        [edits.scale_scores(-1.7, None, [1, 4], LAYERS, HEADS), edits.add_to_scores(0.9, [4, 9], None, LAYERS, [2])],
        Dense(scores=in_layers(LAYERS, lambda m: torch.where(rectangle(m, ALL, [1, 4], HEADS), -1.7 * m, m)
                               + 0.9 * rectangle(m, [4, 9], ALL, [2]).double())),
    ),
    "raised, then scaled": (
        [edits.add_to_scores(0.9, [4, 9], [1], LAYERS), edits.scale_scores(3.0, [9], [1, 2], LAYERS)],
        Dense(scores=in_layers(LAYERS, lambda m: (m + 0.9 * rectangle(m, [4, 9], [1], range(4)).double())
                               * (1 + 2 * rectangle(m, [9], [1, 2], range(4))))),
    ),
    "weights scaled": (
        [edits.scale_weights(2.5, None, [3], LAYERS, HEADS)],
        Dense(weights=in_layers(LAYERS, lambda m: m * (1 + 1.5 * rectangle(m, ALL, [3], HEADS)))),
    ),
    "window and sinks": (
        [edits.window(3, 2, None, LAYERS, HEADS)],
        Dense(hidden=hiding(LAYERS, lambda m: streaming(m, 3, 2, HEADS))),
    ),
    "all but itself": (
        [edits.window(1)],
        Dense(hidden=lambda layer, m: streaming(m, 1, 0, range(4))),
    ),
    "documents": (
        [edits.block_mask(DOCUMENTS, None, LAYERS)],
        Dense(hidden=hiding(LAYERS, lambda m: by_document(m, None))),
    ),
    "documents by a table": (
        [edits.block_mask(DOCUMENTS, SEES, LAYERS)],
        Dense(hidden=hiding(LAYERS, lambda m: by_document(m, SEES))),
    ),
    "uniform": (
        [edits.fix_weights("uniform", [3, 8, -1], LAYERS, HEADS), edits.knock_out([8], [0], LAYERS, HEADS)],
        Dense(scores=in_layers(LAYERS, lambda m: m * ~rectangle(m, [3, 8, 11], ALL, HEADS)),
              hidden=hiding(LAYERS, lambda m: rectangle(m, [8], [0], HEADS))),
    ),
    "all at once": (
        [edits.window(4, 1, None, [1], [0, 3]), edits.knock_out([-1], [8], [1], [3]),
         edits.scale_weights(0.5, [-1, -2], [9], [1], [3, 1]), edits.add_to_scores(-2.0, None, [9, 10], [1], [0, 3])],
        Dense(hidden=hiding([1], lambda m: streaming(m, 4, 1, [0, 3]) | rectangle(m, [11], [8], [3])),
              scores=in_layers([1], lambda m: m - 2.0 * rectangle(m, ALL, [9, 10], [0, 3])),
              weights=in_layers([1], lambda m: m * (1 - 0.5 * rectangle(m, [10, 11], [9], [1, 3])))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_edits_are_those_of_attention_written_out(name: str, case: str, path: str) -> None:
    made, dense = CASES[case]
    expected, patterns = run(name, ROW, dense)
    found = model_of(name, path).capture(ROW, "pattern.*", logits=True, edits=made)
    for layer in range(3):
        close(found[f"pattern.{layer}"], patterns[layer], path)
    assert found.logits is not None
    close(found.logits, expected, path)
    assert (plain(name)[0] - expected).abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_what_changes_nothing_changes_no_bit(name: str, path: str) -> None:
    model = model_of(name, path)
    expected = model.capture(ROW, ["pattern.*", "scores.1"], logits=True)
    nothing = [
        edits.knock_out([-1], []),
        edits.knock_out([], [2]),
        edits.knock_out([3], [7], renormalise=False, heads=[1]),
        edits.scale_scores(1.0),
        edits.add_to_scores(0.0, [2], [1]),
        edits.scale_weights(1.0, None, [0]),
        edits.window(len(ROW)),
        edits.block_mask([4] * len(ROW)),
        edits.knock_out(None, [0], during="generation"),
    ]
    for one in nothing[:2] + nothing[3:]:
        found = model.capture(ROW, ["pattern.*", "scores.1"], logits=True, edits=one)
        assert torch.equal(found.logits, expected.logits), one
        assert all(torch.equal(found[site], expected[site]) for site in expected), one
    later = model.logits(ROW, edits=nothing[2])
    close(later, expected.logits, path)


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_nothing_edits_keep_every_bit(name: str, path: str) -> None:
    model = model_of(name, path)
    made = edits.knock_out([6, 9], [4], layers=[0], heads=[1])
    before, after = model.capture(ROW, "z.0")["z.0"], model.capture(ROW, "z.0", edits=made)["z.0"]
    changed = torch.zeros(len(ROW), 4, dtype=torch.bool)
    changed[[6, 9], 1] = True
    assert torch.equal(after[0][~changed], before[0][~changed])
    for query in (6, 9):  # a window may hide the key from the later one without the edit
        if plain(name)[1][0][0, 1, query, 4] > 0:
            assert (after - before)[0, query, 1].abs().max() > 1e-4
        else:
            close(after[0, query, 1], before[0, query, 1], path)


def test_alone_with_itself_a_head_gives_its_own_value(path: str) -> None:
    for name in ("llama", "gpt_neox", "gemma2"):
        seen = model_of(name, path).capture(ROW, ["z.1", "v.1"], edits=edits.window(1, layers=[1]))
        group = seen["z.1"].shape[2] // seen["v.1"].shape[2]
        close(seen["z.1"], seen["v.1"].repeat_interleave(group, dim=2), path)


def test_a_window_with_sinks_is_streaming_attention(path: str) -> None:
    sites = ["q_rot.1", "k_rot.1", "v.1", "z.1"]
    for name in ("llama", "gpt_neox"):
        seen = model_of(name, path).capture(ROW, sites, edits=edits.window(3, 2, layers=[1]))
        q, k, v = (seen[site].transpose(1, 2).double() for site in sites[:3])
        expected = streaming_attention(q, k, v, sink=2, recent=3, backend="reference")
        close(seen["z.1"], expected.transpose(1, 2), path)


def test_renormalised_is_the_softmax_over_what_is_left() -> None:
    seen = model_of("llama", "rows").capture(ROW, ["scores.1", "pattern.1"], edits=edits.knock_out([8], [2, 5]))
    scores = seen["scores.1"]
    assert (scores[0, :, 8, [2, 5]] == -torch.inf).all() and scores[0, :, 7].isfinite().all()
    causal = torch.ones(12, 12, dtype=torch.bool).tril()
    close(scores.masked_fill(~causal, -torch.inf).softmax(-1), seen["pattern.1"])


def test_one_mode_of_knocking_out_renormalises_and_the_other_does_not() -> None:
    model = model_of("llama", "rows")
    before = model.capture(ROW, "pattern.0")["pattern.0"][0, :, 8]
    hidden, zeroed = (
        model.capture(ROW, "pattern.0", edits=edits.knock_out([8], [2, 5], renormalise=mode))["pattern.0"][0, :, 8]
        for mode in (True, False)
    )
    left = before.clone()
    left[:, [2, 5]] = 0
    close(zeroed, left)
    close(hidden, left / left.sum(-1, keepdim=True))


def test_several_rows_are_what_each_is_alone(path: str) -> None:
    rows = [ROW, OTHER[:7], OTHER[2:11]]
    queries, keys = [[-1, 4], [-1], [5, 2]], [[3], [0, 2], [1]]
    documents = [DOCUMENTS, DOCUMENTS[:7], DOCUMENTS[2:11]]
    for name in ("llama", "gemma2", "gpt2"):
        model = model_of(name, path)

        def of(which: list[int]) -> list[AttentionEdit]:
            return [
                edits.knock_out([queries[i] for i in which], [keys[i] for i in which], [1]),
                edits.block_mask([documents[i] for i in which], layers=[2], heads=[0, 2]),
                edits.window(3, 1, layers=[0], heads=[1]),
            ]

        together = model.capture(rows, ["pattern.*", "resid_post.2"], edits=of([0, 1, 2]))
        said = model.generate(rows, 4, of([0, 1, 2]), stop=()).rows()
        for i, row in enumerate(rows):
            alone = model.capture(row, ["pattern.*", "resid_post.2"], edits=of([i]))
            close(together["resid_post.2"][i, : len(row)], alone["resid_post.2"][0], path)
            for layer in range(3):
                close(together[f"pattern.{layer}"][i, :, : len(row), : len(row)], alone[f"pattern.{layer}"][0], path)
            assert model.generate(row, 4, of([i]), stop=()).rows() == [said[i]]
