"""Contrasts against the formulas written out with plain numbers, and every backend against the reference."""

import math

import numpy as np
import pytest
import torch

from workbench.kernels import contrast
from workbench.kernels.contrast import contrast_scores, divergences, layer_divergences

LN2 = math.log(2)


def logits(*shape: int, seed: int = 0, spread: float = 4.0) -> torch.Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_published_formula_with_its_mask_in_both_orders(backend: str) -> None:
    terms = [logits(5, 40, seed=seed) for seed in range(3)]
    weights, alpha = [1.0, -0.7, 0.3], 0.05
    probabilities = [np.stack([softmax(row) for row in term.double().numpy()]) for term in terms]
    f = sum(weight * np.log(p) for weight, p in zip(weights, probabilities, strict=True))
    head = probabilities[0] >= alpha * probabilities[0].max(-1, keepdims=True)
    assert 0 < head.sum() < head.size
    ids = torch.arange(10).reshape(5, 2)
    for normalise, order in ((False, "mask last"), (True, "mask last"), (True, "mask first")):
        wanted = f
        if normalise:
            counted = np.where(head, np.exp(f), 0.0) if order == "mask first" else np.exp(f)
            wanted = f - np.log(counted.sum(-1, keepdims=True))
        wanted = np.where(head, wanted, -1000.0)
        found = contrast_scores(
            terms, weights, plausibility=alpha, normalise=normalise, order=order, targets=ids, whole=True,
            backend=backend,
        )  # fmt: skip
        assert found.scores is not None and found.at is not None
        np.testing.assert_allclose(found.scores.numpy(), wanted, atol=2e-5)
        np.testing.assert_allclose(found.at.numpy(), np.take_along_axis(wanted, ids.numpy(), 1), atol=2e-5)
        assert found.best.tolist() == wanted.argmax(-1).tolist()
        assert found.kept.tolist() == head.sum(-1).tolist()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_divergences_are_what_their_formulas_say(backend: str) -> None:
    first, others = logits(6, 50), [logits(6, 50, seed=1), logits(6, 50, seed=2, spread=30.0)]
    found = divergences(first, others, backend=backend)
    for layer, other in enumerate(others):
        for row in range(6):
            p, q = softmax(first[row].double().numpy()), softmax(other[row].double().numpy())
            m = (p + q) / 2

            def kl(a: np.ndarray, b: np.ndarray) -> float:
                return float(np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / b), 0).sum())

            assert found.js[layer, row].item() == pytest.approx((kl(p, m) + kl(q, m)) / 2, abs=2e-6)
            assert found.released[layer, row].item() == pytest.approx((kl(m, p) + kl(m, q)) / 2 / 50, abs=2e-6)
            assert found.kl[layer, row].item() == pytest.approx(kl(p, q), abs=2e-4)
    assert (found.js <= LN2 + 1e-6).all() and (found.released * 50).max() > LN2


def test_true_and_released_divergences_choose_different_layers() -> None:
    first = logits(400, 50)
    found = divergences(first, [logits(400, 50, seed=seed) for seed in range(1, 9)])
    share = (found.js.argmax(0) != found.released.argmax(0)).float().mean()
    assert 0.15 < share < 0.6  # 34 % in another simulation of this kind


def test_shift_invariance_symmetry_and_no_divergence_from_itself() -> None:
    one, two = logits(4, 30), logits(4, 30, seed=1)
    shifted = one + torch.tensor([[3.0], [-50.0], [0.5], [100.0]])
    plain = contrast_scores([one, two], [2.0, -1.0], plausibility=0.1, whole=True)
    moved = contrast_scores([shifted, two - 7], [2.0, -1.0], plausibility=0.1, whole=True)
    torch.testing.assert_close(plain.scores, moved.scores, atol=2e-4, rtol=0)
    there, back = divergences(one, [two, one, shifted]), divergences(two, [one])
    torch.testing.assert_close(there.js[0], back.js[0])
    torch.testing.assert_close(there.released[0], back.released[0])
    for name in ("js", "released", "kl"):
        assert getattr(there, name)[1:].abs().max() < 1e-5


def test_equal_terms_of_opposite_weight_leave_nothing() -> None:
    one = logits(3, 20)
    found = contrast_scores([one, one], [1.0, -1.0], plausibility=0.2, normalise=True, order="mask first", whole=True)
    assert found.scores is not None
    for row in range(3):
        kept = found.scores[row] > -500
        torch.testing.assert_close(found.scores[row][kept].exp(), torch.full((int(kept.sum()),), 1 / int(kept.sum())))
    alone = contrast_scores([one, logits(3, 20, seed=1)], [1.0, 0.0], whole=True)
    torch.testing.assert_close(alone.scores, one.log_softmax(-1))


def test_weights_by_row_and_terms_of_weight_zero() -> None:
    one, two = logits(3, 20), logits(3, 20, seed=1)
    two[0, 4] = -math.inf
    weights = torch.tensor([[1.0, 1.5, 2.0], [0.0, -0.5, -1.0]])
    found = contrast_scores([one, two], weights, whole=True)
    assert found.scores is not None and bool(found.scores.isfinite().all())
    for row in range(3):
        alone = contrast_scores([one[row, None], two[row, None]], weights[:, row].tolist(), whole=True)
        torch.testing.assert_close(found.scores[row], alone.scores[0])  # type: ignore[index]


def test_further_terms_can_be_added_as_they_are() -> None:
    terms = [logits(20, 30, seed=seed) for seed in range(6)]
    weights = [1.0, -0.5, 0.4, -0.3, 0.2, -0.1]
    rest = sum(w * t.log_softmax(-1) for w, t in zip(weights[3:], terms[3:], strict=True))
    wanted = sum(w * t.double().log_softmax(-1) for w, t in zip(weights, terms, strict=True))
    for backend in ("reference", "cpu"):
        found = contrast_scores(terms[:3], weights[:3], plus=rest, whole=True, backend=backend)  # type: ignore[arg-type]
        torch.testing.assert_close(found.scores.double(), wanted, atol=2e-5, rtol=0)  # type: ignore[union-attr]


def test_layers_are_unembedded_a_few_rows_at_a_time() -> None:
    states, matrix = logits(3, 150, 8, spread=1.0), logits(40, 8, seed=1, spread=1.0)
    first, seen = logits(150, 40, seed=2), []

    def unembed(layer: int, rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return (layer + 1) * rows @ matrix.T

    found = layer_divergences(first, states, unembed)
    wanted = divergences(
        first, [(place + 1) * layer @ matrix.T for place, layer in enumerate(states)], backend="reference"
    )
    assert max(seen) == contrast.ROWS and sum(seen) == 3 * 150
    for name in ("js", "released", "kl", "lse"):
        torch.testing.assert_close(getattr(found, name).double(), getattr(wanted, name), atol=2e-5, rtol=1e-5)


def test_half_precision_is_computed_in_single() -> None:
    one, two = logits(20, 3000).bfloat16(), logits(20, 3000, seed=1).bfloat16()
    ids = torch.arange(20)
    found = contrast_scores([one, two], [1.0, -1.0], plausibility=0.1, normalise=True, targets=ids)
    wanted = contrast_scores(
        [one, two], [1.0, -1.0], plausibility=0.1, normalise=True, targets=ids, backend="reference"
    )
    torch.testing.assert_close(found.at.double(), wanted.at, atol=2e-5, rtol=1e-5)  # type: ignore[union-attr]
    js = divergences(one, [two], backend="reference").js
    torch.testing.assert_close(divergences(one, [two]).js.double(), js, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"weights": [1.0]}, "weights are finite, one a term"),
        ({"weights": [1.0, math.nan]}, "weights are finite"),
        ({"plausibility": 1.5}, "plausibility is from 0 to 1, not 1.5"),
        ({"order": "both"}, "order is 'mask last' or 'mask first'"),
        ({"targets": torch.tensor([0, 1, 99])}, "int64 ids below 20"),
        ({"terms": [logits(3, 20), logits(3, 21)]}, r"\[3, 20\], \[3, 21\]"),
        ({"terms": [logits(3, 20)] * 5, "weights": [1.0] * 5}, "one to 4 terms, not 5"),
        ({"backend": "triton"}, "needs a CUDA device"),
    ],
)
def test_refusals(change: dict, match: str) -> None:  # type: ignore[type-arg]
    given = {"terms": [logits(3, 20), logits(3, 20)], "weights": [1.0, -1.0]} | change
    with pytest.raises((ValueError, RuntimeError), match=match):
        contrast_scores(given.pop("terms"), given.pop("weights"), **given)
