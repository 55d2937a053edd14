"""The training loop: AdamW by its formula, the schedules, and a training that stops and goes on to the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workbench.errors import Cancelled, UsageError, WorkbenchError
from workbench.probe.training_loop import Checkpoint, Optimiser, Schedule, fit
from workbench.progress import Progress, Reporter


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Dropout(0.3), nn.Linear(7, 2))


def _loss(model: nn.Module, rng: np.random.Generator) -> Callable[[int], Tensor]:
    """Draws from both generators: the batch by NumPy, what is dropped by PyTorch."""

    def loss(step: int) -> Tensor:
        x = torch.from_numpy(rng.standard_normal((4, 5))).float()
        return (model(x) - x[:, :2]).square().mean()

    return loss


HOW = Optimiser(0.02, Schedule(9, warm_up=3), weight_decay=0.1, clip=0.5)


def _train(path: Path | None = None, reporter: Reporter | None = None, every: int = 4) -> tuple[list[float], dict]:
    model, rng = _model(), np.random.default_rng(5)
    torch.manual_seed(1)
    weights = dict(model.named_parameters())
    checkpoint = None if path is None else Checkpoint(path, every, {"seed": 5}, {"chosen": torch.tensor([3, 1])})
    losses = fit(weights, _loss(model, rng), HOW, reporter or Reporter(), "training", rng, checkpoint)
    return losses, {name: each.detach().clone() for name, each in weights.items()}


def test_it_is_adamw_as_its_paper_has_it() -> None:
    """Loshchilov and Hutter 2019, algorithm 2, in float64 with a moving rate and a clipped gradient."""
    start = np.array([1.0, -2.0, 0.5])
    target = np.array([0.3, 0.1, -4.0])
    weight = torch.tensor(start, requires_grad=True)
    how = Optimiser(0.1, Schedule(7, warm_up=2, floor=0.3), weight_decay=0.05, clip=1.5)
    losses = fit({"w": weight}, lambda step: (weight - torch.tensor(target)).square().sum(), how, Reporter(), "x")
    w, m, v = start.copy(), np.zeros(3), np.zeros(3)
    for step in range(7):
        assert losses[step] == pytest.approx(((w - target) ** 2).sum())
        g = 2 * (w - target)
        g *= min(1.0, 1.5 / (np.linalg.norm(g) + 1e-6))
        rate = 0.1 * min((step + 1) / 2, max(0.3, 1 - step / 7))
        w *= 1 - rate * 0.05
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w -= rate * (m / (1 - 0.9 ** (step + 1))) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
    assert weight.detach().numpy() == pytest.approx(w, abs=1e-12)


def test_without_decay_it_is_adam() -> None:
    ours, theirs = _model().eval(), _model().eval()
    rate = Schedule(6, warm_up=2)
    fit(dict(ours.named_parameters()), _loss(ours, np.random.default_rng(0)), Optimiser(0.1, rate), Reporter(), "x")
    adam = torch.optim.Adam(theirs.parameters(), lr=0.1)
    loss = _loss(theirs, np.random.default_rng(0))
    for step in range(6):
        adam.param_groups[0]["lr"] = 0.1 * rate.factor(step)
        adam.zero_grad()
        loss(step).backward()
        adam.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_schedules_rise_and_fall_as_they_say() -> None:
    for steps in (1, 7, 60, 300):
        for step in range(steps):
            assert Schedule(steps).factor(step) == pytest.approx(1 - step / steps)
            expected = min((step + 1) / 20, max(0.02, 1 - step / steps))
            assert Schedule(steps, 20, floor=0.02).factor(step) == pytest.approx(expected)
            expected = min((step + 1) / 6, (steps - step) / max(1, steps - 5))
            assert Schedule(steps, 6, falls_from=5).factor(step) == pytest.approx(expected)
    # the rate of the shipped organisms was written in another form; float32 weights see the same steps
    for step in range(300):
        rates = [min((step + 1) / 20, max(0.02, 1 - step / 300)), Schedule(300, 20, floor=0.02).factor(step)]
        assert len({np.float32(3e-3 * rate / (1 - 0.9 ** (step + 1))) for rate in rates}) == 1
    assert [Schedule(10, 5, falls_from=4).factor(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 1 / 6])


def test_checkpoints_change_nothing(tmp_path: Path) -> None:
    losses, plain = _train()
    again, kept = _train(tmp_path / "state.safetensors")
    assert losses == again and len(losses) == 9
    assert all(torch.equal(plain[name], kept[name]) for name in plain)


@pytest.mark.parametrize("during", [2, 4, 7])
def test_a_cancelled_training_goes_on_to_the_same_weights(tmp_path: Path, during: int) -> None:
    losses, whole = _train()
    reporter, path = Reporter(), tmp_path / "state.safetensors"

    def listen(event: Progress) -> None:
        if event.done == during:
            reporter.cancelled.set()

    reporter.listener = listen
    with pytest.raises(Cancelled):
        _train(path, reporter)
    assert Checkpoint.read(path)["chosen"].tolist() == [3, 1]  # type: ignore[index]
    told: list[Progress] = []
    again, resumed = _train(path, Reporter(told.append))
    assert again == losses
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert told[0].done == during + 1 and [each.done for each in told[1:]] == list(range(during + 2, 10))


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    losses, whole = _train()
    path = tmp_path / "state.safetensors"

    def listen(event: Progress) -> None:
        if event.done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(path, Reporter(listen))
    told: list[Progress] = []
    again, resumed = _train(path, Reporter(told.append))
    assert told[0].done == 4 and again == losses
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_step_that_is_cancelled_half_way_is_done_again(tmp_path: Path) -> None:
    losses, whole = _train()
    path, model, rng = tmp_path / "state.safetensors", _model(), np.random.default_rng(5)
    torch.manual_seed(1)
    usual = _loss(model, rng)

    def stopping(step: int) -> Tensor:
        found = usual(step)
        if step == 5:
            raise Cancelled("cancelled")
        return found

    checkpoint = Checkpoint(path, 100, {"seed": 5})
    with pytest.raises(Cancelled):
        fit(dict(model.named_parameters()), stopping, HOW, Reporter(), "training", rng, checkpoint)
    again, resumed = _train(path)
    assert again == losses
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path, rng = tmp_path / "state.safetensors", np.random.default_rng(5)
    assert Checkpoint.read(path) is None
    _train(path)
    model = _model()
    weights = dict(model.named_parameters())
    for settings, how, said in (
        ({"seed": 6}, HOW, "seed was 5 and is now 6"),
        ({"seed": 5}, Optimiser(0.02, Schedule(10)), "optimiser was"),
    ):
        with pytest.raises(UsageError, match=said):
            fit(weights, _loss(model, rng), how, Reporter(), "x", rng, Checkpoint(path, 4, settings))
    with pytest.raises(UsageError, match="other names or shapes"):
        fit({"0.weight": weights["0.weight"]}, _loss(model, rng), HOW, Reporter(), "x", rng,
            Checkpoint(path, 4, {"seed": 5}))  # fmt: skip
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="is no checkpoint"):
        _train(path)
    with pytest.raises(UsageError, match="is no checkpoint"):
        Checkpoint.read(path)


def test_a_loss_that_is_not_a_number_ends_it() -> None:
    weight = torch.ones(1, requires_grad=True)
    with pytest.raises(WorkbenchError, match="loss is nan at step 2"):
        fit({"w": weight}, lambda step: weight.sum() * (math.nan if step == 2 else 1.0), Optimiser(0.1, Schedule(5)),
            Reporter(), "x")  # fmt: skip


def test_gates_stay_where_they_may_be() -> None:
    gates = torch.tensor([0.5, 0.5], requires_grad=True)
    seen: list[float] = []

    def clamp() -> None:
        gates.clamp_(0, 1)
        seen.extend(gates.tolist())

    fit({"gates": gates}, lambda step: gates[0] - gates[1], Optimiser(0.3, Schedule(8)), Reporter(), "gates",
        constrain=clamp)  # fmt: skip
    assert gates.tolist() == [0.0, 1.0]
    assert min(seen) == 0 and max(seen) == 1


def test_progress_says_step_and_loss() -> None:
    told: list[Progress] = []
    weight = torch.full((1,), 2.0, requires_grad=True)
    with torch.no_grad():  # whoever calls may have gradients switched off
        fit({"w": weight}, lambda step: weight.square().sum(), Optimiser(0.1, Schedule(3)), Reporter(told.append), "a")
    assert [(each.done, each.total) for each in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told[1].stage == "a, loss 4.000" and told[-1].eta == 0
