"""Edits of attention against attention written out in float64: every architecture, short and by the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import hooked, tiny
from tests.workbench.internals.edited_reference import Dense, generated, run
from workbench.internals import edited_attention, edits
from workbench.internals.edits import AttentionEdit
from workbench.internals.hooked_model import HookedModel

NAMES = ("llama", "qwen2", "mistral", "gemma2", "gpt2", "gpt_neox", "phi3")
ROW = [5, 17, 3, 44, 9, 58, 23, 31, 7, 12, 40, 21]
OTHER = [6, 18, 4, 45, 10, 59, 24, 32, 8, 13, 41, 22]
DOCUMENTS = [-1, 0, 0, 0, 1, 1, 1, 2, 2, 2, -1, -1]
SEES = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1]], dtype=torch.bool)


@pytest.fixture(params=["rows", "kernels"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once row by row in float64, once in float32 by the kernels."""
    monkeypatch.setattr(edited_attention, "SMALL", 0 if request.param == "kernels" else 1 << 40)
    return request.param


def model_of(name: str, path: str, **changes: Any) -> HookedModel:
    return hooked(tiny(name, torch.float32 if path == "kernels" else torch.float64, **changes))


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
        [edits.knock_out([-1, 7], [2, 3], LAYERS, HEADS)],
        Dense(hidden=hiding(LAYERS, lambda m: rectangle(m, [11, 7], [2, 3], HEADS))),
    ),
    "knock-out of all queries": (
        [edits.knock_out(None, range(1, 3))],
        Dense(hidden=lambda layer, m: rectangle(m, [q for q in ALL if q not in (1, 2)], [1, 2], range(4))
              | rectangle(m, [1, 2], [1, 2], range(4)) & ~torch.eye(12, dtype=torch.bool)),
    ),
    "without renormalising": (
        [edits.knock_out([-1, 7, 2], [2, 3, 0], LAYERS, renormalise=False)],
        Dense(weights=in_layers(LAYERS, lambda m: m * ~rectangle(m, [11, 7, 2], [2, 3, 0], range(4)))),
    ),
    "scores scaled and raised": (
        [edits.scale_scores(-1.7, None, [1, 4], LAYERS, HEADS), edits.add_to_scores(0.9, [4, 9], None, LAYERS, [2])],
        Dense(scores=in_layers(LAYERS, lambda m: torch.where(rectangle(m, ALL, [1, 4], HEADS), -1.7 * m, m)
                               + 0.9 * rectangle(m, [4, 9], ALL, [2]))),
    ),
    "raised, then scaled": (
        [edits.add_to_scores(0.9, [4, 9], [1], LAYERS), edits.scale_scores(3.0, [9], [1, 2], LAYERS)],
        Dense(scores=in_layers(LAYERS, lambda m: (m + 0.9 * rectangle(m, [4, 9], [1], range(4)))
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


def without_blind(name: str, made: list[AttentionEdit]) -> list[AttentionEdit]:
    """The knock-out of all queries leaves those that would see nothing out, as the reference does."""
    return made


@pytest.mark.parametrize("case", [case for case in CASES if case != "knock-out of all queries"])
@pytest.mark.parametrize("name", NAMES)
def test_edits_are_those_of_attention_written_out(name: str, case: str, path: str) -> None:
    made, dense = CASES[case]
    model = model_of(name, path)
    expected, patterns = run(name, ROW, dense)
    layers = range(3)
    found = model.capture(ROW, [f"pattern.{layer}" for layer in layers], logits=True, edits=made)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if path == "rows" else {"rtol": 2e-5, "atol": 2e-5}
    for layer in layers:
        torch.testing.assert_close(found[f"pattern.{layer}"].double(), patterns[layer], **tolerance)
    torch.testing.assert_close(found.logits.double(), expected, **tolerance)
    plain = run(name, ROW, Dense())[0]
    assert (plain - expected).abs().max() > 1e-4
