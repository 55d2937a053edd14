"""Statistics under edits of attention, weights of another run, and what is refused before a model runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.conftest import hooked, tiny
from tests.workbench.internals.test_attention_edits import HEADS, NAMES, OTHER, ROW, close, model_of
from workbench.errors import UsageError, WorkbenchError
from workbench.internals import attention, edits
from workbench.internals.attention_statistics import StatisticsSpec, attention_statistics
from workbench.internals.edits import EditLike
from workbench.internals.tokens import TokenBatch

STATS = ("entropy", "max_weight", "distance", "sink_mass", "recent_mass", "far_mass", "lse")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_statistics_are_those_of_the_edited_pattern(name: str, dtype: torch.dtype) -> None:
    length = attention.SHORT + 40
    size = {"n_positions" if name == "gpt2" else "max_position_embeddings": length}
    model = hooked(tiny(name, dtype, **size))
    row = torch.randint(3, 60, (length,), generator=torch.Generator().manual_seed(3)).tolist()
    made = [
        edits.knock_out([-1, 50], range(20, 40), [0, 2], HEADS),
        edits.knock_out(range(60, 70), [3, 61], [1], [0], renormalise=False),
        edits.scale_scores(1.5, None, range(4), [1], [2]),
        edits.window(12, 2, layers=[2], heads=[3]),
    ]
    segments = torch.arange(length) // 10
    asked = StatisticsSpec(STATS, segments, sink=3, recent=9, received="sum", topk=2, rows=[50, length - 1])
    found = attention_statistics(model.engine, TokenBatch.of([row]), asked, edits=made, logits_at=[-1])
    seen = model.capture(row, ["pattern.*", "scores.*"], logits=True, edits=made)
    close(found.logits, seen.logits[:, -1:], "kernels")
    gap = torch.arange(length)[:, None] - torch.arange(length)
    for layer in range(3):
        pattern, stats = seen[f"pattern.{layer}"].double(), found[layer].present()
        sink = torch.arange(length) < 3
        recent = (gap < 9) & ~sink
        expected = {
            "entropy": torch.special.entr(pattern).sum(-1),
            "max_weight": pattern.amax(-1),
            "distance": (pattern * gap.clamp(min=0)).sum(-1),
            "sink_mass": (pattern * sink).sum(-1),
            "recent_mass": (pattern * recent).sum(-1),
            "far_mass": (pattern * ~(recent | sink)).sum(-1),
            "segment_mass": pattern @ torch.nn.functional.one_hot(segments).double(),
            "received": pattern.sum(2),
            "topk_weight": pattern[:, :, [50, length - 1]].topk(2).values,
        }
        scores = seen[f"scores.{layer}"].double().masked_fill(gap < 0, -torch.inf)
        if name != "gemma2" or layer % 2:  # the other layers of gemma2 see a window
            expected["lse"] = scores.logsumexp(-1)
        for word, value in expected.items():
            torch.testing.assert_close(stats[word].double(), value, rtol=2e-4, atol=2e-4, msg=f"{layer} {word}")
        assert stats["visible_keys"].shape[-1] == length


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_fixed_to_those_of_another_run(name: str) -> None:
    model = model_of(name, "rows")
    kinds = ("q", "k") if name == "gpt2" else ("q_rot", "k_rot")
    sites = [f"{kind}.1" for kind in kinds]
    own, other = (model.capture(row, [*sites, "pattern.1"]) for row in (ROW, OTHER))
    assert (own["pattern.1"] - other["pattern.1"]).abs().max() > 1e-3
    for run_of in (own, other):
        fixed = model.capture(ROW, "pattern.1", edits=edits.fix_weights(run_of, layers=[1]))["pattern.1"]
        close(fixed, run_of["pattern.1"])
    uniform = model.capture(ROW, "pattern.1", edits=edits.fix_weights("uniform", layers=[1]))["pattern.1"]
    seen = (own["pattern.1"] > 0).double()
    close(uniform, seen / seen.sum(-1, keepdim=True))
    with pytest.raises(UsageError, match="same length"):
        model.logits(ROW[:5], edits=edits.fix_weights(own, layers=[1]))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: edits.knock_out([20], [1]), "queries: position 20 is outside row 0, which has 12 tokens"),
        (lambda: edits.knock_out([1], [-13]), "keys: position -13 is outside"),
        (lambda: edits.knock_out([3], range(4)), "nothing to see"),
        (lambda: edits.knock_out(None, None, [1]), "nothing to see"),
        (lambda: edits.block_mask([0] * 5), "documents has 5 numbers"),
        (lambda: edits.knock_out([3], [1], [7]), "no layer 7"),
        (lambda: edits.knock_out([3], [1], [1], [4]), "no head 4"),
        (lambda: [edits.window(3), edits.window(4)], "two windows"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(
    made: Callable[[], EditLike], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("llama", "rows")
    model.logits(ROW)
    monkeypatch.setattr(type(model.engine), "_run", lambda *_: pytest.fail("it ran"))
    with pytest.raises(WorkbenchError, match=message):
        model.logits(ROW, edits=made())
