"""Prompts: their distribution, its shifts, and the tokens of a model of numbers."""

from __future__ import annotations

import numpy as np
import torch

from workbench.probes.icl_regression.prompts import sample, shifted_queries, tokens


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_labels_are_those_of_the_weights_with_noise() -> None:
    exact = sample(4000, 6, 3, rng(), spread=1.5)
    torch.testing.assert_close(exact.y, torch.einsum("pnd,pd->pn", exact.x, exact.w))
    assert abs(float(exact.w.std()) - 1.5) < 0.05 and abs(float(exact.x.std()) - 1) < 0.02
    noisy = sample(4000, 6, 3, rng(), noise=0.4)
    left = noisy.y - torch.einsum("pnd,pd->pn", noisy.x, noisy.w)
    assert abs(float(left.std()) - 0.4) < 0.01
    fixed = sample(5, 6, 3, rng(), weights=np.ones(3))
    torch.testing.assert_close(fixed.y, fixed.x.sum(-1))


def test_shifts_change_inputs_as_they_say() -> None:
    scaled, skewed, half = (sample(100, 400, 4, rng(), shift=each) for each in ("scaled", "skewed", "half_subspace"))
    assert abs(float(scaled.x.std()) - 2) < 0.05
    assert (torch.linalg.matrix_rank(half.x, tol=1e-9) == 2).all()
    spread = torch.linalg.eigvalsh(skewed.x.mT @ skewed.x / 400).mean(0).flip(0)
    expected = 4 / (25 / 12) / torch.arange(1, 5)
    torch.testing.assert_close(spread, expected.double(), rtol=0.1, atol=0.0)


def test_shifted_queries_are_repeated_or_orthogonal() -> None:
    prompts = sample(50, 6, 4, rng())
    repeated = shifted_queries(prompts, 3, "repeated_query", rng())
    assert ((prompts.x[:, :3] - repeated[:, None]).abs().sum(-1).amin(1) == 0).all()
    apart = shifted_queries(prompts, 3, "orthogonal_query", rng())
    assert float((prompts.x[:, :3] @ apart[..., None]).abs().max()) < 1e-10
    torch.testing.assert_close(apart.norm(dim=-1), prompts.x[:, 3].norm(dim=-1))
    assert shifted_queries(prompts, 4, "orthogonal_query", rng()).isnan().all()
    assert torch.equal(shifted_queries(prompts, 3, "none", rng()), prompts.x[:, 3])


def test_tokens_alternate_and_leave_the_last_label_out() -> None:
    prompts = sample(2, 3, 2, rng())
    found = tokens(prompts.x, prompts.y)
    assert found.shape == (2, 5, 3) and found.dtype == torch.float32
    torch.testing.assert_close(found[:, 0::2, 1:].double(), prompts.x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[:, 1::2, 0].double(), prompts.y[:, :2], rtol=1e-6, atol=1e-6)
    assert not found[:, 0::2, 0].any() and not found[:, 1::2, 1:].any()
