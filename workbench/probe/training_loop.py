"""One training loop for organisms, adapters, gates and learners.

It has a schedule, tells its progress, can be cancelled between steps, keeps every loss, and goes on from a checkpoint
to the same weights, bit for bit.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import Cancelled, UsageError, WorkbenchError
from ..files import draft

if TYPE_CHECKING:
    from ..progress import Reporter

STATE = "training.safetensors"
"""The file in a recipe's folder that a stopped training goes on from."""
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each weight."""


@dataclass(frozen=True)
class Schedule:
    """A learning rate that rises linearly over the first steps, and falls linearly to 0 after the last one.

    It falls along a line that has its peak at the step `falls_from`, and not below `floor` times the peak.
    """

    steps: int
    warm_up: float = 1.0
    """Steps until the peak."""
    falls_from: int = 0
    floor: float = 0.0

    def factor(self, step: int) -> float:
        """The share of the peak learning rate at a step, from 0."""
        rising = (step + 1) / max(1.0, self.warm_up)
        falling = (self.steps - step) / max(1, self.steps - self.falls_from)
        return min(rising, max(self.floor, falling))


@dataclass(frozen=True)
class Optimiser:
    """AdamW with its peak learning rate; with `weight_decay` 0 it is Adam. `clip` bounds the norm of all gradients."""

    learning_rate: float
    schedule: Schedule
    weight_decay: float = 0.0
    clip: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A file from which a training that stopped goes on.

    It is written every few steps and where the training is cancelled. `settings` are all that the weights depend on:
    a checkpoint made with others is refused. `kept` is what the caller needs again beside the weights, which `read`
    gives back.
    """

    path: Path
    every: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> dict[str, Tensor] | None:
        """What the caller kept in the checkpoint at `path`; None if there is none.

        Raises `UsageError` for a file that is not a checkpoint.
        """
        if not path.is_file():
            return None
        tensors, _ = _load(path)
        return {name.removeprefix("kept."): each for name, each in tensors.items() if name.startswith("kept.")}


def fit(
    weights: Mapping[str, Tensor],
    loss_of: Callable[[int], Tensor],
    how: Optimiser,
    progress: Reporter,
    stage: str,
    rng: np.random.Generator | None = None,
    checkpoint: Checkpoint | None = None,
    constrain: Callable[[], None] | None = None,
) -> list[float]:
    """Change `weights` in place so that the loss falls, and return the loss of every step.

    Args:
        weights: leaf tensors that want gradients, by name.
        loss_of: the loss at a step, from 0; it draws from `rng` and PyTorch's generators alone, or by the step.
        how: optimiser and schedule.
        stage: what progress events call this; the loss is written behind it.
        rng: the generator that `loss_of` draws from, so that a checkpoint can hold its state.
        checkpoint: where to go on from, if the file is there, and where to write.
        constrain: called after each step, to bring weights back to where they may be (a gate between 0 and 1).

    Raises:
        Cancelled: between two steps; a checkpoint is written first.
        UsageError: if the checkpoint is damaged or was made with other settings.
        WorkbenchError: if a loss is not finite.
    """
    optimiser = torch.optim.AdamW(list(weights.values()), lr=how.learning_rate, weight_decay=how.weight_decay)
    steps, losses = how.schedule.steps, list[float]()
    settings = {"optimiser": asdict(how), **(checkpoint.settings if checkpoint else {})}
    if checkpoint is not None and checkpoint.path.is_file():
        losses = _restore(checkpoint.path, settings, weights, optimiser, rng)
    first, began = len(losses), time.monotonic()
    drawn = _generators(weights, rng)
    try:
        progress.send(first, steps, stage)
        for step in range(first, steps):
            for group in optimiser.param_groups:
                group["lr"] = how.learning_rate * how.schedule.factor(step)
            with torch.enable_grad():
                loss = loss_of(step)
                optimiser.zero_grad()
                loss.backward()
            if not math.isfinite(value := loss.item()):
                raise WorkbenchError(f"{stage}: the loss is {value} at step {step}; take a smaller learning rate")
            if how.clip is not None:
                torch.nn.utils.clip_grad_norm_(weights.values(), how.clip)
            optimiser.step()
            if constrain is not None:
                with torch.no_grad():
                    constrain()
            losses.append(value)
            if checkpoint is not None:
                drawn = _generators(weights, rng)
                if (step + 1) % checkpoint.every == 0:
                    _write(checkpoint, settings, losses, weights, optimiser, drawn)
            left = (time.monotonic() - began) / (step + 1 - first) * (steps - step - 1)
            progress.send(step + 1, steps, f"{stage}, loss {value:.3f}", left)
    except Cancelled:
        if checkpoint is not None and losses:
            _write(checkpoint, settings, losses, weights, optimiser, drawn)
        raise
    return losses


@dataclass(frozen=True)
class _Generators:
    """The states of everything that random numbers were drawn from."""

    numpy: str
    torch: dict[str, Tensor]


def _generators(weights: Mapping[str, Tensor], rng: np.random.Generator | None) -> _Generators:
    found = {"cpu": torch.get_rng_state()}
    for device in {each.device for each in weights.values() if each.device.type == "cuda"}:
        found[str(device)] = torch.cuda.get_rng_state(device)
    return _Generators("" if rng is None else json.dumps(rng.bit_generator.state), found)


def _write(
    checkpoint: Checkpoint,
    settings: Mapping[str, Any],
    losses: list[float],
    weights: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
    drawn: _Generators,
) -> None:
    from safetensors.torch import save_file

    tensors = {"losses": torch.tensor(losses, dtype=torch.float64)}
    tensors |= {f"kept.{name}": each for name, each in checkpoint.kept.items()}
    tensors |= {f"generator.{device}": each for device, each in drawn.torch.items()}
    for name, weight in weights.items():
        held = optimiser.state[weight]
        tensors |= {f"weight.{name}": weight} | {f"{part}.{name}": held[part] for part in _MOMENTS}
    said = {"settings": json.dumps(settings, sort_keys=True, default=str), "rng": drawn.numpy}
    with draft(checkpoint.path) as made:
        # tensors of one storage are refused, so each is written as a copy
        save_file({name: each.detach().cpu().clone().contiguous() for name, each in tensors.items()}, made, said)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors, said = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    except SafetensorError as error:
        raise UsageError(f"{path} is no checkpoint ({error}); train into an empty folder instead") from None
    if "losses" not in tensors or not said or not {"settings", "rng"} <= said.keys():
        raise UsageError(f"{path} was not written by this version of the training; train into an empty folder instead")
    return tensors, said


def _restore(
    path: Path,
    settings: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator | None,
) -> list[float]:
    """Put back weights, moments and generators; the losses so far."""
    tensors, said = _load(path)
    before, now = json.loads(said["settings"]), json.loads(json.dumps(settings, sort_keys=True, default=str))
    differing = [
        f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    held = {name.removeprefix("weight."): each.shape for name, each in tensors.items() if name.startswith("weight.")}
    if held != {name: each.shape for name, each in weights.items()}:
        differing.append("the weights have other names or shapes")
    if differing:
        raise UsageError(f"{path} was made with other settings: {'; '.join(differing)}; go on with the same ones")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[f"weight.{name}"])
            optimiser.state[weight] = {
                part: tensors[f"{part}.{name}"].to(weight.device if part != "step" else "cpu") for part in _MOMENTS
            }
    for name, state in tensors.items():
        kind, _, device = name.partition(".")
        if kind == "generator" and device == "cpu":
            torch.set_rng_state(state)
        elif kind == "generator":
            torch.cuda.set_rng_state(state, device)
    if rng is not None:
        rng.bit_generator.state = json.loads(said["rng"])
    return list(map(float, tensors["losses"].tolist()))
