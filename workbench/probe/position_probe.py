"""`PositionProbe`: a probe that learns at which positions of a sequence to read, trained for all layers at once.

The position-attended probe of Akyürek et al. 2023 (arXiv 2211.15661, section 4.3): a weight for every position, the
same for all inputs, a projection of what is read there, and a linear or a two-layer head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import UnknownName, UsageError
from ..progress import Reporter
from .linear_probe import Task, as_targets, loss, standardised
from .training_loop import Optimiser, Schedule, fit

Head = Literal["linear", "mlp"]
LOOKS = 20
"""How often a training looks at the validation examples."""


@dataclass(frozen=True)
class Training:
    """How a position probe is trained; defaults are the paper's width and rate."""

    hidden: int = 512
    steps: int = 1000
    batch: int = 256
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class PositionProbe:
    """What was trained, by layer.

    values: `attention [layer, position]` before its softmax, `read [layer, feature, hidden]`, `out [layer, hidden,
    output]` with `bias [layer, output]`, and for the head `mlp` also `inner [layer, hidden, hidden]` with `inner_bias`.
    losses: of the training, `[layer, step]`. chosen: the step after which a layer was best on the validation examples.
    """

    task: Task
    values: Mapping[str, Tensor]
    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor
    losses: np.ndarray
    chosen: np.ndarray

    @classmethod
    def fit(
        cls,
        states: Tensor,
        targets: np.ndarray,
        validation: tuple[Tensor, np.ndarray],
        task: Task,
        rng: np.random.Generator,
        head: Head = "linear",
        how: Training | None = None,
        progress: Reporter | None = None,
        stage: str = "position probes",
    ) -> PositionProbe:
        """Train on `states [layer, example, position, feature]` with Adam, in float32.

        All layers begin at the same values and see the same batches, and their losses are added up: each becomes what
        it would alone. Features and numeric targets are standardised on the training examples. A layer keeps the
        values with which it was best on `validation`, among 20 looks during the training.

        Raises `UsageError` for targets that do not fit the states or the task.
        """
        if states.ndim != 4:
            raise UsageError(f"states are [layer, example, position, feature], not of {states.ndim} dims")
        if head not in get_args(Head):
            raise UnknownName("head of a position probe", str(head), get_args(Head))
        how = how or Training()
        wanted = as_targets(targets, task, states.shape[1]).to(states.device)
        x, mean, scale = standardised(states.float())
        target_mean, target_scale = torch.zeros(1, device=x.device), torch.ones(1, device=x.device)
        if task == "regression":
            spread = wanted.std(0, correction=0)
            target_mean, target_scale = wanted.mean(0), torch.where(spread > 0, spread, torch.ones_like(spread))
            goal, outputs = ((wanted - target_mean) / target_scale).float(), wanted.shape[1]
        else:
            goal, outputs = wanted, int(wanted.max()) + 1
            if outputs < 2:
                raise UsageError("the training examples have one class; a classifier needs two")
        values = _begin(x.shape, how.hidden, outputs, head, rng, x.device)
        best = {name: each.detach().clone() for name, each in values.items()}
        least = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        chosen, losses = np.zeros(len(x), np.int64), np.zeros((how.steps, len(x)))

        def probe() -> PositionProbe:
            now = {name: each.detach() for name, each in values.items()}
            return cls(task, now, mean, scale, target_mean, target_scale, losses, chosen)

        def look(step: int) -> None:
            error = loss(probe().predict(validation[0]), validation[1], task)
            better = error < least
            least[better] = error[better]
            chosen[better.cpu().numpy()] = step
            for name, each in values.items():
                best[name][better] = each.detach()[better]

        def loss_of(step: int) -> Tensor:
            if step % max(1, how.steps // LOOKS) == 0:
                look(step)
            rows = torch.from_numpy(rng.integers(x.shape[1], size=min(how.batch, x.shape[1])))
            predicted = _forward(values, x[:, rows])
            each = _errors(predicted, goal[rows], task)
            losses[step] = each.detach().double().cpu().numpy()
            return each.sum()

        rate = Schedule(how.steps, warm_up=0.05 * how.steps)
        fit(values, loss_of, Optimiser(how.learning_rate, rate), progress or Reporter(), stage, rng)
        look(how.steps)
        return cls(task, best, mean, scale, target_mean, target_scale, losses.T, chosen)

    @property
    def attention(self) -> Tensor:
        """How much each position is read, `[layer, position]`; every layer sums to one."""
        return self.values["attention"].softmax(-1)

    def predict(self, states: Tensor) -> Tensor:
        """Values, or logits of the classes, `[layer, example, output]`."""
        found = _forward(self.values, (states.float() - self.mean) / self.scale)
        return found.double() * self.target_scale + self.target_mean


def _begin(
    shape: torch.Size, hidden: int, outputs: int, head: Head, rng: np.random.Generator, device: torch.device
) -> dict[str, Tensor]:
    """Even attention and small random matrices, the same in every layer."""
    layers, _, positions, features = shape

    def random(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns)) / np.sqrt(rows)

    one: dict[str, np.ndarray] = {"attention": np.zeros(positions), "read": random(features, hidden)}
    if head == "mlp":
        one |= {"inner": random(hidden, hidden), "inner_bias": np.zeros(hidden)}
    one |= {"out": random(hidden, outputs), "bias": np.zeros(outputs)}
    return {
        name: torch.from_numpy(each).float().expand(layers, *each.shape).clone().to(device).requires_grad_()
        for name, each in one.items()
    }


def _forward(values: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Predictions `[layer, example, output]` from standardised states `[layer, example, position, feature]`."""
    # reading and projecting are both linear, so the smaller product comes first
    read = torch.einsum("lp,lepf->lef", values["attention"].softmax(-1), x) @ values["read"]
    if "inner" in values:
        read = torch.nn.functional.gelu(read @ values["inner"] + values["inner_bias"][:, None])
    return read @ values["out"] + values["bias"][:, None]


def _errors(predicted: Tensor, goal: Tensor, task: Task) -> Tensor:
    """Mean loss of each layer, `[layer]`."""
    if task == "regression":
        return (predicted - goal).square().mean((1, 2))
    return -predicted.log_softmax(-1).gather(-1, goal.expand(len(predicted), -1)[..., None])[..., 0].mean(-1)
