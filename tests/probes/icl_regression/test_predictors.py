"""Reference predictors against numpy's least squares, loops that follow each formula, and curves known on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.errors import UsageError
from workbench.probes.icl_regression import predictors
from workbench.probes.icl_regression.prompts import Prompts, sample

D, LENGTH = 4, 9


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return sample(20, LENGTH, D, np.random.default_rng(3), noise=0.3)


def each_prefix(prompts: Prompts):
    for prompt in range(len(prompts)):
        for n in range(prompts.length):
            yield (prompt, n), prompts.x[prompt, :n].numpy(), prompts.y[prompt, :n].numpy()


def weights(predictor: predictors.Predictor, prompts: Prompts) -> np.ndarray:
    assert predictor.weights is not None
    found = predictor.weights(prompts.x, prompts.y)
    assert found.dtype == torch.float64
    return found.numpy()


def test_least_squares_is_numpys_solution_of_least_norm(prompts: Prompts) -> None:
    found, newton = (weights(each, prompts) for each in (predictors.ols(), predictors.newton(60)))
    for at, x, y in each_prefix(prompts):
        expected = np.linalg.lstsq(x, y, rcond=None)[0] if len(x) else np.zeros(D)
        np.testing.assert_allclose(found[at], expected, rtol=1e-9, atol=1e-11)
        if at[1] != D:  # where n = d, XᵀX may be as good as singular
            np.testing.assert_allclose(newton[at], expected, rtol=1e-5, atol=1e-6)


def test_ridge_solves_its_equations_and_tends_to_least_squares(prompts: Prompts) -> None:
    found = weights(predictors.ridge(0.25), prompts)
    for at, x, y in each_prefix(prompts):
        # rows √λ·I with labels 0 are the penalty
        rows, labels = np.concatenate([x, 0.5 * np.eye(D)]), np.concatenate([y, np.zeros(D)])
        np.testing.assert_allclose(found[at], np.linalg.lstsq(rows, labels, rcond=None)[0], rtol=1e-9, atol=1e-11)
    least = weights(predictors.ols(), prompts)
    np.testing.assert_allclose(weights(predictors.ridge(1e-9), prompts)[:, :3], least[:, :3], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(weights(predictors.ridge(0), prompts), least)
    with pytest.raises(UsageError, match="0 or more"):
        predictors.ridge(-0.1)


def test_gradient_steps_follow_the_gradient(prompts: Prompts) -> None:
    steps = {count: weights(predictors.gradient_descent(0.02, count), prompts) for count in (1, 3)}
    single = weights(predictors.one_pass_sgd(0.03, 0.1), prompts)
    best, mean = weights(predictors.optimal_step(0.09), prompts), weights(predictors.averaging(), prompts)
    for at, x, y in each_prefix(prompts):
        for count, found in steps.items():
            w = torch.zeros(D, dtype=torch.float64, requires_grad=True)
            for _ in range(count):
                error = (torch.from_numpy(x) @ w - torch.from_numpy(y)).square().sum()
                (gradient,) = torch.autograd.grad(error, w)
                w = (w - 0.02 * gradient).detach().requires_grad_()
            np.testing.assert_allclose(found[at], w.detach().numpy(), rtol=1e-10, atol=1e-12)
        w = np.zeros(D)
        for row, label in zip(x, y, strict=True):
            w = w - 2 * 0.03 * (np.outer(row, row) @ w - row * label + 0.1 * w)
        np.testing.assert_allclose(single[at], w, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(best[at], x.T @ y / (len(x) + D + 1 + 0.09), atol=1e-12)
        np.testing.assert_allclose(mean[at], x.T @ y / max(len(x), 1), atol=1e-12)


@pytest.mark.parametrize("weighted", (False, True))
def test_nearest_neighbours_are_those_of_a_sorted_list(prompts: Prompts, weighted: bool) -> None:
    found = predictors.nearest_neighbours(3, weighted).predict(prompts.x, prompts.y).numpy()
    for at, x, y in each_prefix(prompts):
        apart = np.square(x - prompts.x[at].numpy()).sum(1)
        near = np.argsort(apart)[:3]
        share = 1 / apart[near] if weighted else np.ones(len(near))
        expected = (share * y[near]).sum() / share.sum() if len(near) else 0.0
        np.testing.assert_allclose(found[at], expected, rtol=1e-10)


def test_a_query_on_a_pair_has_its_label(prompts: Prompts) -> None:
    queries = prompts.x[:, 1][:, None, None].expand(-1, LENGTH, -1, -1)
    found = predictors.nearest_neighbours(3, weighted=True).predict(prompts.x, prompts.y, queries)
    torch.testing.assert_close(found[:, 5, 0], prompts.y[:, 1])


def test_errors_are_those_known_on_paper() -> None:
    """Mean squared error over d, noiseless: 1 − n/d of least squares, (d+1)/(n+d+1) of the optimal step."""
    prompts = sample(4_000, LENGTH, D, np.random.default_rng(0))
    squares = {
        each.name: (each.predict(prompts.x, prompts.y) - prompts.y).square() / D
        for each in predictors.candidates((0.1, 0.5), (0.01, 0.02), (3,))
    }
    n = torch.arange(LENGTH)
    for name, expected in (
        ("ols", (1 - n / D).clamp_min(0)),
        ("gd optimal", (D + 1) / (n + D + 1)),
        ("zero", 1 + 0 * n),
    ):
        error = 4 * squares[name].std(0) / len(prompts) ** 0.5 + 1e-9
        assert bool(((squares[name].mean(0) - expected).abs() <= error).all()), name
    least = squares["ols"].mean(0)
    assert all(bool((each.mean(0) >= least - 0.03).all()) for each in squares.values())


def test_no_predictor_errs_less_than_bayes() -> None:
    noise, spread = 0.5, 0.75
    prompts = sample(4_000, LENGTH, D, np.random.default_rng(1), noise, spread)
    found = predictors.candidates((0.1, 0.5), (0.02,), (), noise**2 / spread**2)
    assert found[-1].name == "bayes" and len({each.name for each in found}) == len(found)
    true = (prompts.x * prompts.w[:, None]).sum(-1)
    squares = {each.name: (each.predict(prompts.x, prompts.y) - true).square() for each in found}
    for name, other in squares.items():
        gap = squares["bayes"] - other
        assert bool((gap.mean(0) <= 4 * gap.std(0) / len(prompts) ** 0.5 + 1e-12).all()), name


def test_order_of_pairs_matters_to_sgd_alone(prompts: Prompts) -> None:
    order = torch.tensor([3, 1, 0, 2, 4])
    x = torch.cat([prompts.x[:, order], prompts.x[:, 5:]], 1)
    y = torch.cat([prompts.y[:, order], prompts.y[:, 5:]], 1)
    changed = {
        each.name
        for each in predictors.candidates((0.1,), (0.02,), (3,))
        if not torch.allclose(each.predict(prompts.x, prompts.y)[:, 5:], each.predict(x, y)[:, 5:], atol=1e-9)
    }
    assert changed == {"sgd 0.02"}
