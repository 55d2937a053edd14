"""Linear probes: the minimum by plain formulas in float64, planted signals found, and nothing found in noise."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from workbench import results
from workbench.errors import Cancelled, UsageError
from workbench.linear_probe import LinearProbe, loss
from workbench.progress import Reporter
from workbench.selectivity import control_targets, probe_with_control, split_examples


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


def _planted(rng: np.random.Generator, n: int = 400) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Token types with random vectors in both layers; the second also holds a label that types do not tell."""
    types = rng.integers(40, size=n)
    labels = rng.integers(3, size=n)
    states = rng.standard_normal((2, 40, 24))[:, types] + 0.3 * rng.standard_normal((2, n, 24))
    states[1] += 3 * np.linalg.qr(rng.standard_normal((24, 3)))[0].T[labels]
    return torch.from_numpy(states).float(), labels, types


@pytest.fixture(scope="module")
def planted() -> Any:
    rng = np.random.default_rng(8)
    states, labels, types = _planted(rng)
    fit = partial(LinearProbe.fit, task="classification", penalties=(1e-3, 1e-2, 0.1))
    return probe_with_control(
        fit, states, labels, split_examples(len(labels), rng), "classification", rng, types, layers=[4, 9]
    ).scores


def test_a_planted_signal_is_found_where_it_is_and_chance_elsewhere(planted: Any) -> None:
    assert planted["score"].sel(layer=9) > 0.95
    assert planted["score_low"].sel(layer=9) > planted["chance"] + 0.3
    assert planted["score_low"].sel(layer=4) < 0.4 < planted["score_high"].sel(layer=4)


def test_types_can_be_memorised_so_selectivity_is_lower_than_the_score(planted: Any) -> None:
    """The control task is learnt from the types in both layers; the signal is worth more than that in one of them."""
    assert (planted["control"] > 0.6).all()
    assert planted["selectivity_high"].sel(layer=4) < 0
    np.testing.assert_allclose(planted["selectivity"], planted["score"] - planted["control"])
    assert (planted["selectivity_low"] <= planted["selectivity"]).all()
    assert (planted["selectivity"] <= planted["selectivity_high"]).all()


def test_scores_follow_the_schema_of_results(planted: Any) -> None:
    import xarray as xr

    results.check(xr.DataTree.from_dict({"/probes": planted}))
    assert planted.attrs["n"] == 80 and planted["layer"].values.tolist() == [4, 9]


def test_a_task_that_is_memorising_has_no_selectivity() -> None:
    """Targets that the types alone decide are a control task themselves."""
    rng = np.random.default_rng(9)
    states, labels, types = _planted(rng, 600)
    given = control_targets(labels, rng, types)
    fit = partial(LinearProbe.fit, task="classification", penalties=(1e-2, 0.1))
    found = probe_with_control(fit, states, given, split_examples(len(given), rng), "classification", rng, types).scores
    assert (found["score"] > 0.6).all()
    assert (abs(found["selectivity"]) < 0.2).all()
    assert (found["selectivity_low"] < 0).any() and (found["selectivity_high"] > 0).any()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_noise_gives_chance_for_task_and_control(task: Any) -> None:
    rng = np.random.default_rng(10)
    states = torch.from_numpy(rng.standard_normal((3, 300, 10))).float()
    targets = rng.integers(2, size=300) if task == "classification" else rng.standard_normal((300, 2))
    fit = partial(LinearProbe.fit, task=task)
    found = probe_with_control(fit, states, targets, split_examples(300, rng), task, rng).scores
    for name in ("score", "control"):
        chance = 0.5 if task == "classification" else 0.0
        assert (found[f"{name}_low"] <= chance + 0.02).all() and (found[f"{name}_high"] >= chance - 0.02).all()
    assert (found["selectivity_low"] <= 0.05).all() and (found["selectivity_high"] >= -0.05).all()


def test_explained_variance_is_against_the_training_mean() -> None:
    """By hand, on two outputs of different size that weigh the same."""
    rng = np.random.default_rng(11)
    states = torch.from_numpy(rng.standard_normal((1, 200, 3)))
    targets = states[0].numpy() @ rng.standard_normal((3, 2)) * [1, 50] + rng.standard_normal((200, 2)) * [0.5, 25]
    split = split_examples(200, rng)
    fit = partial(LinearProbe.fit, task="regression", penalties=(1e-3,))
    found = probe_with_control(fit, states, targets, split, "regression", rng)
    said = found.probe.predict(states[:, torch.from_numpy(split.test)])[0].numpy()
    train, test = targets[split.train], targets[split.test]
    spread = train.std(0)
    wrong, whole = (((test - each) / spread) ** 2 for each in (said, train.mean(0)))
    assert found.scores["score"].item() == pytest.approx(1 - wrong.sum() / whole.sum())
    assert found.scores["score"] > 0.6 and found.scores["control"] < 0.1 and found.scores["selectivity_low"] > 0.4


def test_clusters_widen_the_interval_and_stay_on_one_side_of_the_split() -> None:
    rng = np.random.default_rng(12)
    names = np.repeat(np.arange(40), 10).tolist()
    states = torch.from_numpy(rng.standard_normal((1, 400, 6)))
    noise = np.repeat(rng.standard_normal(40), 10)
    targets = states[0, :, 0].numpy() + 2 * noise
    split = split_examples(400, rng, names)
    owners = [{names[place] for place in part} for part in (split.train, split.validation, split.test)]
    assert not owners[0] & owners[1] and not owners[1] & owners[2] and not owners[0] & owners[2]
    assert sum(map(len, owners)) == 40 and len(owners[0]) == 24
    fit = partial(LinearProbe.fit, task="regression")
    widths = []
    for clusters in (names, None):
        found = probe_with_control(fit, states, targets, split, "regression", np.random.default_rng(0), None, clusters)
        widths.append((found.scores["score_high"] - found.scores["score_low"]).item())
    assert widths[0] > 1.5 * widths[1]


def test_every_type_has_one_target_and_shares_are_kept() -> None:
    rng = np.random.default_rng(13)
    targets = np.r_[np.zeros(300, int), np.ones(100, int)]
    types = np.arange(400) % 200
    made = control_targets(targets, rng, types)
    assert all(len(set(made[types == each])) == 1 for each in range(200))
    assert 0.15 < made.mean() < 0.35
    assert control_targets(rng.standard_normal((6, 2)), rng).shape == (6, 2)


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
    with pytest.raises(UsageError, match="2 clusters of examples are too few"):
        split_examples(4, np.random.default_rng(0), ["a", "a", "b", "b"])
    reporter = Reporter()
    reporter.cancelled.set()
    with pytest.raises(Cancelled):
        fit(np.arange(4), task="regression", progress=reporter)
