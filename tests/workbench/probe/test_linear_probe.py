"""Linear probes: the minimum by plain formulas in float64, the penalty, and wrong use."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from workbench.errors import Cancelled, UsageError
from workbench.probe.linear_probe import LinearProbe, loss
from workbench.progress import Reporter


def _ridge_by_hand(x: np.ndarray, y: np.ndarray, penalty: float, new: np.ndarray) -> np.ndarray:
    """min Σ(y − Xw − b)²/n + λ‖w‖², features and targets standardised, by the normal equations."""
    mean, scale, middle, spread = x.mean(0), x.std(0), y.mean(0), y.std(0)
    z = (x - mean) / scale
    w = np.linalg.solve(z.T @ z / len(x) + penalty * np.eye(x.shape[1]), z.T @ ((y - middle) / spread) / len(x))
    return (new - mean) / scale @ w * spread + middle


def _logistic_by_hand(x: np.ndarray, y: np.ndarray, penalty: float, new: np.ndarray) -> np.ndarray:
    """Binary logistic regression by Newton's method, as log-odds: two classes with weights ±w/2 halve the penalty."""
    mean, scale = x.mean(0), x.std(0)
    z = np.c_[(x - mean) / scale, np.ones(len(x))]
    ridge = np.diag([*np.full(x.shape[1], penalty / 2), 0.0])
    w = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ w))
        gradient = z.T @ (p - y) / len(x) + ridge @ w
        w -= np.linalg.solve(z.T * (p * (1 - p)) @ z / len(x) + ridge, gradient)
    return np.c_[(new - mean) / scale, np.ones(len(new))] @ w


def _states(layers: int, examples: int, features: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((layers, examples, features)) * rng.uniform(0.1, 30, features) + rng.uniform(-5, 5)


@pytest.mark.parametrize("features", [6, 50])
def test_regression_is_the_ridge_formula_in_every_layer(features: int) -> None:
    """Fewer features than examples, and more, where the other decomposition is taken."""
    x, new = _states(3, 40, features), _states(3, 9, features, 1)
    y = np.random.default_rng(2).standard_normal((40, 2)) * [1.0, 100.0]
    held = (torch.from_numpy(new), np.zeros((9, 2)))
    for penalty in (1e-3, 1.0):
        probe = LinearProbe.fit(torch.from_numpy(x), y, held, "regression", [penalty])
        said = probe.predict(torch.from_numpy(new)).numpy()
        for layer in range(3):
            assert said[layer] == pytest.approx(_ridge_by_hand(x[layer], y, penalty, new[layer]), rel=1e-9, abs=1e-9)


def test_classification_is_the_minimum_that_newton_finds_in_every_layer() -> None:
    x, new = _states(3, 60, 5), _states(3, 9, 5, 1)
    y = (np.random.default_rng(3).uniform(size=60) < 0.4).astype(int)
    held = (torch.from_numpy(new), np.zeros(9, int))
    for penalty in (1e-3, 0.3):
        probe = LinearProbe.fit(torch.from_numpy(x), y, held, "classification", [penalty])
        logits = probe.predict(torch.from_numpy(new)).numpy()
        for layer in range(3):
            expected = _logistic_by_hand(x[layer], y, penalty, new[layer])
            assert logits[layer, :, 1] - logits[layer, :, 0] == pytest.approx(expected, abs=1e-5)


def test_several_classes_stand_at_a_minimum() -> None:
    """Gradients of the objective vanish: Σ(p − y)z/n + λw and Σ(p − y)/n, by hand."""
    x = _states(2, 80, 4)
    y = np.random.default_rng(4).integers(3, size=80)
    probe = LinearProbe.fit(torch.from_numpy(x), y, (torch.from_numpy(x), y), "classification", [0.02])
    logits = probe.predict(torch.from_numpy(x)).numpy()
    for layer in range(2):
        scale = x[layer].std(0)
        z = (x[layer] - x[layer].mean(0)) / scale
        p = np.exp(logits[layer]) / np.exp(logits[layer]).sum(-1, keepdims=True)
        off = p - np.eye(3)[y]
        weights = probe.weights[layer].numpy() * scale[:, None]
        assert z.T @ off / 80 + 0.02 * weights == pytest.approx(np.zeros((4, 3)), abs=1e-7)
        assert off.mean(0) == pytest.approx(np.zeros(3), abs=1e-7)


def test_the_penalty_is_the_one_that_the_validation_examples_prefer() -> None:
    x, y = _states(2, 30, 25), np.random.default_rng(5).standard_normal(30)
    x[1, :, 0] = y  # noise in one layer, the target itself in the other
    states, held = torch.from_numpy(x[:, :20]), (torch.from_numpy(x[:, 20:]), y[20:])
    grid = [1e-4, 1e-2, 1.0, 100.0]
    probe = LinearProbe.fit(states, y[:20], held, "regression", grid)
    errors = [loss(LinearProbe.fit(states, y[:20], held, "regression", [p]).predict(held[0]), y[20:], "regression")
              for p in grid]  # fmt: skip
    assert probe.penalty.tolist() == [grid[int(place)] for place in torch.stack(errors).argmin(0)]
    assert probe.penalty[0] > probe.penalty[1]


def test_constant_features_and_shifts_change_nothing() -> None:
    x, y = _states(1, 40, 4), np.random.default_rng(6).integers(2, size=40)
    more = np.concatenate([x * 7 - 3, np.full((1, 40, 1), 1e4)], -1)
    one, two = (
        LinearProbe.fit(torch.from_numpy(each), y, (torch.from_numpy(each), y), "classification", [0.1]).predict(
            torch.from_numpy(each)
        )
        for each in (x, more)
    )
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_float32_states_are_computed_in_float64() -> None:
    x = torch.from_numpy(_states(1, 40, 4)).float()
    y = np.random.default_rng(7).standard_normal(40)
    one = LinearProbe.fit(x, y, (x, y), "regression")
    two = LinearProbe.fit(x.double(), y, (x.double(), y), "regression")
    assert torch.equal(one.weights, two.weights) and one.predict(x).dtype == torch.float64


def test_wrong_use_is_one_clear_line() -> None:
    x = torch.zeros(1, 4, 2)
    fit = partial(LinearProbe.fit, x, validation=(x, np.arange(4)))
    with pytest.raises(UsageError, match="3 targets were given for 4 examples"):
        fit(np.arange(3), task="classification")
    with pytest.raises(UsageError, match="take task='regression'"):
        fit(np.full(4, 0.5), task="classification")
    with pytest.raises(UsageError, match="finite numbers"):
        fit(np.array([0, 1, np.nan, 2]), task="regression")
    with pytest.raises(UsageError, match="a classifier needs two"):
        fit(np.zeros(4, int), task="classification")
    reporter = Reporter()
    reporter.cancelled.set()
    with pytest.raises(Cancelled):
        fit(np.arange(4), task="regression", progress=reporter)
