"""The contrast kernels in Triton's interpreter; `test_contrast_triton.py` runs this file by itself."""

import math
import os

import pytest
import torch

from workbench.kernels import contrast_triton
from workbench.kernels.contrast import Order, contrast_scores, divergences

assert os.environ.get("TRITON_INTERPRET") == "1"

ROWS, VOCABULARY = 3, 200


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast_triton, "TILE", 128)  # several tiles, the last one not full


def logits(seed: int, spread: float = 4.0) -> torch.Tensor:
    return spread * torch.randn(ROWS, VOCABULARY, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("terms", [1, 2, 4])
@pytest.mark.parametrize(
    ("plausibility", "order"), [(0.0, None), (0.0, "mask last"), (0.1, "mask last"), (0.1, "mask first")]
)
def test_scores(terms: int, plausibility: float, order: Order | None) -> None:
    given = [logits(seed) for seed in range(terms)]
    weights = torch.tensor([1.0, -0.6, 0.4, -0.2])[:terms, None] * torch.linspace(0, 1, ROWS)
    options = {
        "plausibility": plausibility, "normalise": order is not None, "order": order or "mask last",
        "targets": torch.arange(ROWS * 4).reshape(ROWS, 4) * 16, "whole": True,
    }  # fmt: skip
    options["plus"] = logits(9) if terms > 2 else None
    found = contrast_scores(given, weights, backend="triton", **options)  # type: ignore[arg-type]
    wanted = contrast_scores(given, weights, backend="reference", **options)  # type: ignore[arg-type]
    for name in ("lse", "norm", "at", "scores"):
        torch.testing.assert_close(getattr(found, name).double(), getattr(wanted, name), atol=3e-5, rtol=1e-5)
    assert torch.equal(found.kept, wanted.kept)
    # a row of weight 0 has equal scores, of which any may be the best
    assert torch.equal(found.best[1:], wanted.best[1:])


def test_only_what_is_asked_for() -> None:
    given, floor = [logits(0).half(), logits(1).half()[:, :VOCABULARY]], -math.inf
    found = contrast_scores(given, [1.0, -1.0], plausibility=0.2, floor=floor, backend="triton")
    wanted = contrast_scores(given, [1.0, -1.0], plausibility=0.2, floor=floor, backend="reference")
    assert found.at is None and found.scores is None and torch.equal(found.best, wanted.best)


def test_divergences() -> None:
    first, others = logits(0), [logits(1), logits(0) + 3.0, logits(2, spread=60.0)]
    found, wanted = (divergences(first, others, backend=name) for name in ("triton", "reference"))  # type: ignore[arg-type]
    for name in ("js", "released", "lse"):
        torch.testing.assert_close(getattr(found, name).double(), getattr(wanted, name), atol=3e-5, rtol=1e-5)
    torch.testing.assert_close(found.kl.double(), wanted.kl, atol=1e-4, rtol=1e-5)
