"""Another default dtype of the process has nothing to do with a model in float32."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.kernels import attention_stats

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3]


@pytest.fixture(params=[torch.bfloat16, torch.float16, torch.float64])
def other(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    yield request.param
    torch.set_default_dtype(torch.float32)


def test_statistics_of_the_kernels(other: torch.dtype) -> None:
    q, k, v = (torch.randn(2, heads, 40, 16, dtype=torch.float32) for heads in (4, 2, 2))

    def computed() -> dict[str, torch.Tensor]:
        found = attention_stats(
            q, k, v, stats=("entropy", "distance", "sink_mass", "recent_mass", "far_mass", "out"),
            segments=torch.arange(40) // 10, n_segments=4, received=torch.ones(1, 40, dtype=torch.float32),
            weights_at=torch.zeros(1, 40, dtype=torch.int64), topk=3,
            rows=torch.tensor([5, 39]), softcap=5.0, window=20,
        )  # fmt: skip
        return found.present()

    expected = computed()
    torch.set_default_dtype(other)
    found = computed()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(found[name].dtype == expected[name].dtype for name in expected)


@pytest.mark.parametrize("engine", ["hf", "transformerlens", "nnsight"])
def test_a_session(other: torch.dtype, engine: str) -> None:
    session = wb.load(tiny("gemma2"), engine)
    direction = [0.3] * 24

    def looked() -> list[torch.Tensor]:
        edits = [wb.edits.project("resid_post.0", direction, 0.7), wb.edits.add("resid_post.1", 0.1, [-1])]
        seen = session.capture(IDS, ["pattern.1", "scores.1", "z.0", "resid_post.2"], logits=True, edits=edits)
        statistics = session.attention_statistics(IDS, received="sum", topk=2, rows=(-1,))[1].present()
        gradient = session.gradients(IDS, "resid_post.0", lambda logits: logits[0, -1, 5])["resid_post.0"]
        return [*seen.values(), *statistics.values(), gradient, session.generate(IDS, 4, edits).ids]

    expected = looked()
    torch.set_default_dtype(other)
    for found, wanted in zip(looked(), expected, strict=True):
        assert found.dtype == wanted.dtype and torch.allclose(found, wanted, atol=1e-6)


def test_a_model_that_is_loaded_meanwhile(other: torch.dtype, tmp_path) -> None:
    tiny("llama").save_pretrained(tmp_path)
    expected = wb.load(tmp_path, device="cpu").logits(IDS)
    torch.set_default_dtype(other)
    session = wb.load(tmp_path, device="cpu")
    assert session.info.dtype == "float32" and torch.equal(session.logits(IDS), expected)
