"""`LinearProbe`: a linear classifier or regression on activations, fitted for all layers at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import UnknownName, UsageError
from ..progress import Reporter

Task = Literal["classification", "regression"]
PENALTIES = tuple(10.0**power for power in range(-4, 4))
"""Penalties that are tried, on standardised features."""
MOST = 500
"""Steps of L-BFGS at most."""


@dataclass(frozen=True)
class LinearProbe:
    """What was fitted, in the units of the states and of the targets.

    weights: `[layer, feature, output]`; a class is an output. bias: `[layer, output]`. penalty: the one that was chosen
    in each layer, `[layer]`.
    """

    task: Task
    weights: Tensor
    bias: Tensor
    penalty: Tensor

    @classmethod
    def fit(
        cls,
        states: Tensor,
        targets: np.ndarray,
        validation: tuple[Tensor, np.ndarray],
        task: Task,
        penalties: Sequence[float] = PENALTIES,
        progress: Reporter | None = None,
        stage: str = "linear probes",
    ) -> LinearProbe:
        """Fit on `states [layer, example, feature]`; in each layer the penalty that is best on `validation` is kept.

        `targets` are classes from 0, `[example]`, or numbers `[example]` or `[example, output]`. Features are
        standardised on the training examples. Regression minimises the mean squared error of standardised targets plus
        `penalty · ‖w‖²`; classification the mean cross-entropy plus `penalty/2 · ‖w‖²`, by L-BFGS. Both are computed in
        float64, and have one minimum.

        Raises `UsageError` for targets that do not fit the states or the task.
        """
        progress = progress or Reporter()
        wanted = as_targets(targets, task, states.shape[1]).to(states.device)
        x, mean, scale = standardised(states.double())
        fits = _ridge if task == "regression" else _logistic
        made = fits(x, wanted, sorted(penalties, reverse=True), progress, stage)
        probes = [
            cls(task, weights / scale.mT, bias - (mean / scale @ weights)[:, 0], torch.full((len(x),), penalty))
            for penalty, weights, bias in made
        ]
        errors = torch.stack([loss(each.predict(validation[0]), validation[1], task) for each in probes])
        # of equals, the strongest penalty
        best = errors.argmin(0).cpu()
        layers = torch.arange(len(x))

        def chosen(name: str) -> Tensor:
            return torch.stack([getattr(each, name) for each in probes])[best, layers]

        return cls(task, chosen("weights"), chosen("bias"), chosen("penalty"))

    def predict(self, states: Tensor) -> Tensor:
        """Values, or logits of the classes, float64 `[layer, example, output]`."""
        return states.double() @ self.weights + self.bias[:, None]


def standardised(states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States with mean 0 and deviation 1 over all axes but the first and the last, and both; a constant stays 0."""
    axes = tuple(range(1, states.ndim - 1))
    mean = states.mean(axes, keepdim=True)
    scale = (states - mean).square().mean(axes, keepdim=True).sqrt()
    scale = torch.where(scale > 1e-6 * states.abs().amax(axes, keepdim=True), scale, torch.ones_like(scale))
    return (states - mean) / scale, mean, scale


def as_targets(targets: np.ndarray, task: Task, examples: int) -> Tensor:
    """Classes as int64 `[example]`, or numbers as float64 `[example, output]`.

    Raises `UsageError` for another task, another number of examples, and for what is no class or no finite number.
    """
    if task not in get_args(Task):
        raise UnknownName("task of a probe", str(task), get_args(Task))
    found = np.asarray(targets)
    if len(found) != examples:
        raise UsageError(f"{len(found)} targets were given for {examples} examples")
    if task == "classification":
        if found.ndim != 1 or found.dtype.kind not in "iub" or (found < 0).any():
            raise UsageError("classes are whole numbers from 0, one an example; for numbers take task='regression'")
        return torch.from_numpy(found.astype(np.int64))
    if found.dtype.kind not in "iubf" or found.ndim > 2 or not np.isfinite(found).all():
        raise UsageError("targets of a regression are finite numbers, [example] or [example, output]")
    return torch.from_numpy(found.astype(np.float64).reshape(examples, -1))


def loss(predicted: Tensor, targets: np.ndarray, task: Task) -> Tensor:
    """Mean cross-entropy or squared error, `[layer]`, of predictions `[layer, example, output]`."""
    wanted = as_targets(targets, task, predicted.shape[1]).to(predicted.device)
    if task == "regression":
        return (predicted - wanted).square().mean((1, 2))
    # a class that no training example had has no chance
    missing = int(wanted.max()) + 1 - predicted.shape[-1]
    logits = torch.nn.functional.pad(predicted, (0, max(0, missing)), value=-1e9)
    return -logits.log_softmax(-1).gather(-1, wanted.expand(len(predicted), -1)[..., None])[..., 0].mean(-1)


_Fitted = list[tuple[float, Tensor, Tensor]]
"""Penalty, weights and bias on standardised features."""


def _ridge(x: Tensor, y: Tensor, penalties: Sequence[float], progress: Reporter, stage: str) -> _Fitted:
    """(XᵀX/n + λ)⁻¹ Xᵀy/n for all penalties from one decomposition, of the smaller of XᵀX and XXᵀ."""
    n, features = x.shape[1:]
    middle, spread = y.mean(0), y.std(0, correction=0)
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    made = torch.zeros(len(penalties), len(x), features, y.shape[1], dtype=torch.float64, device=x.device)
    for layer in progress.steps(range(len(x)), stage):
        one, wanted = x[layer], (y - middle) / spread
        wide = features > n
        values, vectors = torch.linalg.eigh((one @ one.T if wide else one.T @ one) / n)
        along = vectors.T @ (wanted if wide else one.T @ wanted) / n
        for place, penalty in enumerate(penalties):
            solved = vectors @ (along / (values.clamp_min(0) + penalty)[:, None])
            made[place, layer] = (one.T @ solved if wide else solved) * spread
    return [(penalty, each, middle.expand(len(x), -1)) for penalty, each in zip(penalties, made, strict=True)]


def _logistic(x: Tensor, y: Tensor, penalties: Sequence[float], progress: Reporter, stage: str) -> _Fitted:
    """Multinomial logistic regression, from the strongest penalty on, each begun where the one before ended."""
    classes = int(y.max()) + 1
    if classes < 2:
        raise UsageError("the training examples have one class; a classifier needs two")
    weights = torch.zeros(len(x), x.shape[2], classes, dtype=torch.float64, device=x.device, requires_grad=True)
    bias = torch.zeros(len(x), classes, dtype=torch.float64, device=x.device, requires_grad=True)
    at = y.expand(len(x), -1)[..., None]
    made: _Fitted = []
    for penalty in progress.steps(penalties, stage):
        optimiser = torch.optim.LBFGS(
            [weights, bias], max_iter=MOST, tolerance_grad=1e-8, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def closure(penalty: float = penalty, optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
            progress.check()
            optimiser.zero_grad()
            with torch.enable_grad():
                logits = x @ weights + bias[:, None]
                error = -logits.log_softmax(-1).gather(-1, at).mean((1, 2)).sum()
                error = error + penalty / 2 * weights.square().sum()
                error.backward()
            return error

        optimiser.step(closure)
        made.append((penalty, weights.detach().clone(), bias.detach().clone()))
    return made
