"""Position probes: the forward pass by plain loops, layers that do not touch each other, and where a signal is read."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from workbench.errors import UsageError
from workbench.probe.position_probe import PositionProbe, Training, _begin, _forward
from workbench.probe.selectivity import probe_with_control, split_examples
from workbench.progress import Progress, Reporter

SHORT = Training(hidden=8, steps=200, batch=64, learning_rate=6e-2)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_forward_pass_is_its_formula(head: Any) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((2, 3, 4, 5)))
    made = _begin(x.shape, 6, 2, head, rng, x.device)
    values = {name: torch.from_numpy(rng.standard_normal(each.shape)) for name, each in made.items()}
    found = _forward(values, x).numpy()
    v = {name: each.numpy() for name, each in values.items()}
    for layer in range(2):
        weight = np.exp(v["attention"][layer]) / np.exp(v["attention"][layer]).sum()
        for example in range(3):
            # each position is projected, then read
            z = sum(weight[t] * (x[layer, example, t].numpy() @ v["read"][layer]) for t in range(4))
            if head == "mlp":
                z = z @ v["inner"][layer] + v["inner_bias"][layer]
                z = np.array([0.5 * each * (1 + math.erf(each / math.sqrt(2))) for each in z])
            assert found[layer, example] == pytest.approx(z @ v["out"][layer] + v["bias"][layer], abs=1e-12)


def _planted(n: int = 500) -> tuple[torch.Tensor, np.ndarray]:
    """A target that stands at position 2 in layer 1, as a sum of positions 1 and 3 in layer 2, and not in layer 0."""
    rng = np.random.default_rng(1)
    states = rng.standard_normal((3, n, 5, 8))
    targets = rng.standard_normal((n, 2))
    states[1, :, 2, :2] = targets * 2 + 5
    part = rng.standard_normal((n, 2))
    states[2, :, 1, :2], states[2, :, 3, :2] = part, targets - part
    return torch.from_numpy(states).float(), targets


@pytest.fixture(scope="module")
def trained() -> Any:
    states, targets = _planted()
    rng = np.random.default_rng(2)
    fit = partial(PositionProbe.fit, task="regression", rng=rng, how=SHORT)
    return probe_with_control(fit, states, targets, split_examples(len(targets), rng), "regression", rng)


def test_a_signal_is_found_where_it_is(trained: Any) -> None:
    score = trained.scores["score"].values
    assert score[0] < 0.1 and score[1] > 0.9 and score[2] > 0.6
    assert trained.scores["score_low"][1] > 0.85
    assert (trained.scores["control"] < 0.1).all()
    assert trained.scores["selectivity_low"][1] > 0.7


def test_attention_tells_at_which_positions(trained: Any) -> None:
    attention = trained.probe.attention
    assert attention.sum(-1) == pytest.approx(torch.ones(3))
    assert attention[1, 2] > 0.7
    assert attention[2, [1, 3]].sum() > 0.8 and attention[2, [1, 3]].min() > 0.3


def test_losses_of_every_layer_are_kept(trained: Any) -> None:
    losses = trained.probe.losses
    assert losses.shape == (3, 200)
    assert losses[1, -20:].mean() < 0.1 * losses[1, :5].mean()


def test_all_layers_at_once_are_what_each_is_alone() -> None:
    states, targets = _planted(120)
    held = (states[:, 80:], targets[80:])
    how = Training(hidden=8, steps=40, batch=32, learning_rate=1e-2)
    whole = PositionProbe.fit(states[:, :80], targets[:80], held, "regression", np.random.default_rng(3), "mlp", how)
    for layer in range(3):
        own = slice(layer, layer + 1)
        alone = PositionProbe.fit(
            states[own, :80], targets[:80], (held[0][own], held[1]), "regression", np.random.default_rng(3), "mlp", how
        )
        torch.testing.assert_close(whole.predict(held[0])[own], alone.predict(held[0][own]), atol=1e-4, rtol=1e-4)
        assert whole.chosen[layer] == alone.chosen[0]


def test_only_the_mlp_reads_what_is_not_linear() -> None:
    """The class is whether two features at one position have the same sign."""
    rng = np.random.default_rng(4)
    states = rng.choice([-1.0, 1.0], size=(1, 600, 3, 4)) + 0.1 * rng.standard_normal((1, 600, 3, 4))
    labels = (states[0, :, 1, 0] * states[0, :, 1, 1] > 0).astype(int)
    split = split_examples(600, rng)
    found = {}
    for head in ("linear", "mlp"):
        fit = partial(
            PositionProbe.fit, task="classification", rng=np.random.default_rng(5), head=head,
            how=Training(hidden=16, steps=200, batch=100, learning_rate=3e-2),
        )  # fmt: skip
        found[head] = probe_with_control(
            fit, torch.from_numpy(states), labels, split, "classification", np.random.default_rng(6)
        ).scores
    assert found["linear"]["score_low"] < 0.55 < 0.9 < found["mlp"]["score"]
    assert found["mlp"]["selectivity_low"] > 0.2


def test_a_layer_keeps_what_was_best_on_the_validation_examples() -> None:
    """Noise is soon fitted too well: what is kept comes from early on, and is no worse than giving the mean."""
    rng = np.random.default_rng(7)
    states, targets = torch.from_numpy(rng.standard_normal((2, 60, 3, 30))), rng.standard_normal(60)
    how = Training(hidden=32, steps=300, batch=40, learning_rate=1e-2)
    probe = PositionProbe.fit(
        states[:, :40], targets[:40], (states[:, 40:], targets[40:]), "regression", rng, "mlp", how
    )
    assert (probe.chosen < 100).all() and (probe.losses[:, -10:].mean(-1) < 0.05).all()


def test_wrong_use_and_progress() -> None:
    rng, flat = np.random.default_rng(0), torch.zeros(1, 4, 2)
    with pytest.raises(UsageError, match="not of 3 dims"):
        PositionProbe.fit(flat, np.zeros(4), (flat, np.zeros(4)), "regression", rng)
    states = torch.zeros(1, 4, 2, 2)
    with pytest.raises(UsageError, match="a classifier needs two"):
        PositionProbe.fit(states, np.zeros(4, int), (states, np.zeros(4, int)), "classification", rng)
    told: list[Progress] = []
    PositionProbe.fit(
        states, np.arange(4), (states, np.arange(4)), "classification", rng, how=Training(4, 3, 2),
        progress=Reporter(told.append),
    )  # fmt: skip
    assert [each.done for each in told] == [0, 1, 2, 3] and told[1].stage.startswith("position probes, loss")
