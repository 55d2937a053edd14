"""Probes of all layers and prefixes at once: their formula, their reach, and those trained one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.errors import UnknownName, UsageError
from workbench.probe.position_probe import PositionProbe, Training
from workbench.probe.prefix_probes import PrefixProbes

REACH = (2, 5)
HOW = Training(hidden=16, steps=400, batch=128, learning_rate=1e-2)


@pytest.fixture(scope="module")
def planted() -> tuple[Tensor, np.ndarray]:
    """States `[layer, example, position, feature]` of noise; position 1 of layer 1 holds the first prefix's target,
    position 4 the second's."""
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.standard_normal((2, 900, 5, 6))).float()
    read = torch.from_numpy(rng.standard_normal((6, 2))).float()
    targets = torch.stack([states[1, :, place] @ read for place in (1, 4)], 1)
    return 3 * states + 1, 2 * targets.numpy() - 1


def fitted(planted: tuple[Tensor, np.ndarray], head: str) -> PrefixProbes:
    states, targets = planted
    validation = states[:, 600:750], targets[600:750]
    return PrefixProbes.fit(states[:, :600], targets[:600], REACH, validation, np.random.default_rng(1), head, HOW)


def r2(said: Tensor, targets: np.ndarray) -> np.ndarray:
    """`[layer, prefix]`, of predictions `[layer, prefix, example, output]`."""
    wanted = targets.transpose(1, 0, 2)
    error = np.square(said.numpy() - wanted).sum((2, 3))
    return 1 - error / np.square(wanted - wanted.mean(1, keepdims=True)).sum((1, 2))


@pytest.mark.parametrize("head", ("linear", "mlp"))
def test_it_finds_what_is_planted_where_it_is(planted: tuple[Tensor, np.ndarray], head: str) -> None:
    probes = fitted(planted, head)
    found = r2(probes.predict(planted[0][:, 750:]), planted[1][750:])
    assert (found[1] > 0.95).all() and (found[0] < 0.1).all()
    assert bool((probes.attention[0, 0, 2:] == 0).all()), "nothing beyond a prefix is read"
    assert probes.attention[1, 0].argmax() == 1 and probes.attention[1, 1].argmax() == 4
    torch.testing.assert_close(probes.attention.sum(-1), torch.ones(2, 2))


@pytest.mark.parametrize("head", ("linear", "mlp"))
def test_predictions_follow_the_formula(planted: tuple[Tensor, np.ndarray], head: str) -> None:
    states = planted[0][:, 750:760]
    probes = fitted(planted, head)
    said = probes.predict(states)
    values = probes.values
    for layer in range(2):
        for prefix, reach in enumerate(REACH):
            x = (states[layer] - probes.mean[layer]) / probes.scale[layer]
            weight = values["attention"][layer, prefix, :reach].softmax(-1)
            read = sum(weight[place] * x[:, place] for place in range(reach)) @ values["read"][layer, prefix]
            if head == "mlp":
                read = (
                    torch.nn.functional.gelu(read + values["read_bias"][layer, prefix]) @ values["out"][layer, prefix]
                )
            expected = read + values["bias"][layer, prefix]
            expected = expected * probes.target_scale[prefix] + probes.target_mean[prefix]
            torch.testing.assert_close(said[layer, prefix], expected.double(), rtol=1e-4, atol=1e-5)


def test_directions_move_each_output_by_one_unit_as_they_say(planted: tuple[Tensor, np.ndarray]) -> None:
    probes = fitted(planted, "linear")
    states = planted[0][:, 750:760]
    directions = probes.directions()
    moved = states.clone()
    moved[1] += directions[1, 1, :, 0].float()
    change = (probes.predict(moved) - probes.predict(states))[1, 1]
    expected = (directions[1, 1, :, 0] @ directions[1, 1]).expand_as(change)
    torch.testing.assert_close(change, expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(UsageError, match="linear"):
        fitted(planted, "mlp").directions()


def test_each_is_as_good_as_one_trained_by_itself(planted: tuple[Tensor, np.ndarray]) -> None:
    states, targets = planted
    together = r2(fitted(planted, "linear").predict(states[:, 750:]), targets[750:])
    for prefix, reach in enumerate(REACH):
        alone = PositionProbe.fit(
            states[1:, :600, :reach],
            targets[:600, prefix],
            (states[1:, 600:750, :reach], targets[600:750, prefix]),
            "regression",
            np.random.default_rng(1),
            how=Training(hidden=16, steps=600, batch=128, learning_rate=1e-2),
        )
        said = alone.predict(states[1:, 750:, :reach])[:, None]
        assert r2(said, targets[750:, prefix : prefix + 1])[0, 0] == pytest.approx(together[1, prefix], abs=0.01)


def test_wrong_use_is_told(planted: tuple[Tensor, np.ndarray]) -> None:
    states, targets = planted
    rng, validation = np.random.default_rng(0), (states, targets)
    with pytest.raises(UsageError, match="2 prefixes"):
        PrefixProbes.fit(states, targets[:, 0], REACH, validation, rng)
    with pytest.raises(UsageError, match="1 to 5"):
        PrefixProbes.fit(states, targets, (2, 6), validation, rng)
    with pytest.raises(UsageError, match="layer, example"):
        PrefixProbes.fit(states[0], targets, REACH, validation, rng)
    with pytest.raises(UnknownName):
        PrefixProbes.fit(states, targets, REACH, validation, rng, "cubic")  # type: ignore[arg-type]
