"""Selectivity: planted signals are found, noise reads chance, and what is memorised has none."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from workbench.errors import UsageError
from workbench.probe.linear_probe import LinearProbe
from workbench.probe.selectivity import control_targets, probe_with_control, split_examples
from workbench.records import results


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


def test_too_few_clusters_are_refused() -> None:
    with pytest.raises(UsageError, match="2 clusters of examples are too few"):
        split_examples(4, np.random.default_rng(0), ["a", "a", "b", "b"])
