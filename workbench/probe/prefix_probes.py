"""`PrefixProbes`: position probes of every layer and of every prefix of a sequence, trained together.

The same probes as `PositionProbe`, one for each layer and each prefix, of which it sees the first positions alone. The
states are read once for all of them. What a probe reads passes from the states to its head through linear maps only, so
they are one matrix here: the functions that can be learnt are the same where `hidden` is not below the features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import UnknownName, UsageError
from ..progress import Reporter
from .linear_probe import as_targets
from .position_probe import LOOKS, Head, Training
from .training_loop import Optimiser, Schedule, fit


@dataclass(frozen=True)
class PrefixProbes:
    """What was trained, by layer and prefix; regression only.

    values: `attention [layer, prefix, position]` before its softmax; for a linear head `read [layer, prefix, feature,
    output]`, for the head `mlp` `read [layer, prefix, feature, hidden]`, `read_bias` and `out [layer, prefix, hidden,
    output]`; and `bias [layer, prefix, output]`. chosen: the step after which each was best on the validation examples.
    """

    values: Mapping[str, Tensor]
    reach: tuple[int, ...]
    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor
    chosen: np.ndarray

    @classmethod
    def fit(
        cls,
        states: Tensor,
        targets: np.ndarray,
        reach: Sequence[int],
        validation: tuple[Tensor, np.ndarray],
        rng: np.random.Generator,
        head: Head = "linear",
        how: Training | None = None,
        progress: Reporter | None = None,
        stage: str = "prefix probes",
    ) -> PrefixProbes:
        """Train on `states [layer, example, position, feature]` and `targets [example, prefix, output]` with Adam.

        Prefix k sees the first `reach[k]` positions. Features are standardised on the training examples, targets too,
        for each prefix by itself. Each probe keeps the values with which it was best on `validation`.

        Raises `UsageError` for targets or a reach that do not fit the states.
        """
        if states.ndim != 4:
            raise UsageError(f"states are [layer, example, position, feature], not of {states.ndim} dims")
        if head not in get_args(Head):
            raise UnknownName("head of a prefix probe", str(head), get_args(Head))
        layers, examples, positions, features = states.shape
        if targets.ndim != 3 or targets.shape[1] != len(reach):
            raise UsageError(f"targets are [example, prefix, output] for {len(reach)} prefixes, not {targets.shape}")
        if not all(1 <= each <= positions for each in reach):
            raise UsageError(f"prefixes reach from 1 to {positions} positions, not {list(reach)}")
        how = how or Training()
        flat = as_targets(targets.reshape(len(targets), -1), "regression", examples).to(states.device)
        goal = flat.view(examples, len(reach), -1)
        target_mean, spread = goal.mean(0), goal.std(0, correction=0)
        target_scale = torch.where(spread > 0, spread, torch.ones_like(spread))
        goal = ((goal - target_mean) / target_scale).float().transpose(0, 1).contiguous()
        mean, scale = _moments(states)
        # in one random order, so that a batch is a stretch of it and nothing is copied
        order = torch.from_numpy(rng.permutation(examples)).to(states.device)
        x, goal = _standard(states[:, order], mean, scale), goal[:, order]
        batch = min(how.batch, examples)
        starts = np.unique([*range(0, examples - batch + 1, batch), examples - batch])
        values = _begin(layers, tuple(reach), positions, features, how.hidden, goal.shape[-1], head, rng, x.device)
        best = {name: each.detach().clone() for name, each in values.items()}
        least = torch.full((layers, len(reach)), torch.inf, device=x.device)
        chosen = np.zeros((layers, len(reach)), np.int64)
        seen = _standard(validation[0], mean, scale)
        wanted = torch.from_numpy(validation[1]).to(x.device)
        wanted = ((wanted - target_mean) / target_scale).float().transpose(0, 1)

        def look(step: int) -> None:
            with torch.no_grad():
                error = _errors(values, seen, wanted)
            better = error < least
            least[better] = error[better]
            chosen[better.cpu().numpy()] = step
            for name, each in values.items():
                best[name][better] = each.detach()[better]

        def loss_of(step: int) -> Tensor:
            if step % max(1, how.steps // LOOKS) == 0:
                look(step)
            first = int(rng.choice(starts))
            return _errors(values, x[:, :, first : first + batch], goal[:, first : first + batch]).sum()

        rate = Schedule(how.steps, warm_up=0.05 * how.steps)
        fit(values, loss_of, Optimiser(how.learning_rate, rate), progress or Reporter(), stage, rng)
        look(how.steps)
        return cls(best, tuple(reach), mean, scale, target_mean, target_scale, chosen)

    @property
    def attention(self) -> Tensor:
        """How much each position is read, `[layer, prefix, position]`; 0 beyond a prefix."""
        return self.values["attention"].softmax(-1)

    def predict(self, states: Tensor) -> Tensor:
        """Values `[layer, prefix, example, output]`, float64."""
        with torch.no_grad():
            found = _forward(self.values, _standard(states, self.mean, self.scale))
        return found.double() * self.target_scale[:, None] + self.target_mean[:, None]

    def directions(self) -> Tensor:
        """Of linear probes, what moves each output: `[layer, prefix, feature, output]`, in the units of the states.

        Raises `UsageError` for a head that is not linear.
        """
        if "out" in self.values:
            raise UsageError("a two-layer head has no fixed directions; take a linear one")
        return self.values["read"].double() / self.scale.double()[..., None] * self.target_scale[:, None]


def _moments(states: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature, `[layer, 1, feature]`; a constant feature has the deviation 1."""
    flat = states.float().flatten(1, 2)
    mean, scale = flat.mean(1, keepdim=True), flat.std(1, correction=0, keepdim=True)
    return mean, torch.where(scale > 1e-6 * flat.abs().amax(1, keepdim=True), scale, torch.ones_like(scale))


def _standard(states: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Standardised states `[layer, position, example, feature]`, whose positions one product mixes."""
    return ((states.float() - mean[:, None]) / scale[:, None]).transpose(1, 2).contiguous()


def _begin(
    layers: int,
    reach: tuple[int, ...],
    positions: int,
    features: int,
    hidden: int,
    outputs: int,
    head: Head,
    rng: np.random.Generator,
    device: torch.device,
) -> dict[str, Tensor]:
    """Even attention within each prefix and small random matrices, the same for every layer and prefix."""

    def random(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns)) / np.sqrt(rows)

    one: dict[str, np.ndarray] = {"bias": np.zeros(outputs)}
    if head == "mlp":
        one |= {"read": random(features, hidden), "read_bias": np.zeros(hidden), "out": random(hidden, outputs)}
    else:
        one |= {"read": 0.1 * random(features, outputs)}
    values = {
        name: torch.from_numpy(each).float().expand(layers, len(reach), *each.shape) for name, each in one.items()
    }
    hidden_away = torch.arange(positions) >= torch.tensor(reach)[:, None]
    values["attention"] = torch.zeros(len(reach), positions).masked_fill(hidden_away, -torch.inf).expand(layers, -1, -1)
    return {name: each.clone().to(device).requires_grad_() for name, each in values.items()}


def _forward(values: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Predictions `[layer, prefix, example, output]` from standardised states `[layer, position, example, feature]`."""
    layers, _, examples, features = x.shape
    mixed = (values["attention"].softmax(-1) @ x.flatten(2)).view(layers, -1, examples, features)
    if "out" in values:
        mixed = torch.nn.functional.gelu(mixed @ values["read"] + values["read_bias"][:, :, None]) @ values["out"]
    else:
        mixed = mixed @ values["read"]
    return mixed + values["bias"][:, :, None]


def _errors(values: Mapping[str, Tensor], x: Tensor, goal: Tensor) -> Tensor:
    """Mean squared error of each probe, `[layer, prefix]`; `goal [prefix, example, output]`."""
    return (_forward(values, x) - goal).square().mean((2, 3))
