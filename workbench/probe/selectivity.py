"""Is it in the states, or in the probe? Held-out scores beside those of a control task, and the selectivity.

Hewitt and Liang 2019 (arXiv 1909.03368): a control task gives every type of input a random target, so that a probe can
do it only by memorising; selectivity is how much better it does the task itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..records.results import variable
from .linear_probe import Task, as_targets
from .statistics import LEVEL, Clusters, newcombe, owners, resample, wilson

if TYPE_CHECKING:
    import xarray as xr


class Fitted(Protocol):
    """A probe that was fitted."""

    def predict(self, states: Tensor) -> Tensor:
        """Values or logits, `[layer, example, output]`."""
        ...


Fit = Callable[[Tensor, np.ndarray, tuple[Tensor, np.ndarray]], Fitted]
"""Fits a probe on training states and targets, with those of the validation examples."""


@dataclass(frozen=True)
class Split:
    """Numbers of the examples that are fitted on, chosen on, and scored on; each `[example]`."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Probed:
    """A probe with its scores: the one of the task, and the one of the control task."""

    probe: Fitted
    control: Fitted
    scores: xr.Dataset


def split_examples(
    n: int, rng: np.random.Generator, clusters: Clusters = None, shares: tuple[float, float] = (0.6, 0.2)
) -> Split:
    """Divide examples by random, whole clusters at a time; `shares` are those of training and validation.

    A control task needs types on both sides, so types are not the clusters here. Raises `UsageError` if a part is
    empty.
    """
    owner = owners(n, clusters)
    order = rng.permutation(int(owner.max()) + 1)
    ends = np.round(np.cumsum(shares) * len(order)).astype(int)
    found = Split(*(np.flatnonzero(np.isin(owner, part)) for part in np.split(order, ends)))
    if not (len(found.train) and len(found.validation) and len(found.test)):
        raise UsageError(f"{len(order)} clusters of examples are too few for training, validation and test")
    return found


def control_targets(
    targets: np.ndarray, rng: np.random.Generator, types: Sequence[Hashable] | None = None
) -> np.ndarray:
    """A random target for every type of input: that of an example drawn by random, so that shares are kept.

    `types` are what a probe could memorise, such as the token at the probed position, `[example]`. With None every
    example is a type of its own, so that held-out examples leave chance alone.
    """
    targets = np.asarray(targets)
    owner = owners(len(targets), types)
    return targets[rng.integers(len(targets), size=int(owner.max()) + 1)][owner]


def probe_with_control(
    fit: Fit,
    states: Tensor,
    targets: np.ndarray,
    split: Split,
    task: Task,
    rng: np.random.Generator,
    types: Sequence[Hashable] | None = None,
    clusters: Clusters = None,
    layers: Sequence[int] | None = None,
) -> Probed:
    """Fit a probe and its control on `states [layer, example, …]`, and score both on the test examples.

    Scores are accuracy, or the share of variance explained (1 − squared error over that of always giving the training
    mean; every output weighs the same). Intervals draw `clusters` of test examples again, the same ones for both.
    """
    parts = (split.train, split.validation, split.test)
    train, validation, test = (states[:, torch.from_numpy(each)] for each in parts)

    def fitted(wanted: np.ndarray) -> tuple[Fitted, np.ndarray, np.ndarray]:
        probe = fit(train, wanted[split.train], (validation, wanted[split.validation]))
        return probe, *_errors(probe.predict(test), wanted[split.train], wanted[split.test], task)

    targets = np.asarray(targets)
    probe, wrong, scale = fitted(targets)
    control, missed, span = fitted(control_targets(targets, rng, types))
    own = None if clusters is None else [clusters[place] for place in split.test]
    counts = resample(len(split.test), rng, own)
    drawn = 1 - (counts @ wrong.T) / (counts @ scale)[:, None]
    by_control = 1 - (counts @ missed.T) / (counts @ span)[:, None]
    score, guessed = 1 - wrong.sum(1) / scale.sum(), 1 - missed.sum(1) / span.sum()
    independent = len(set(owners(len(split.test), own)))
    scores = _dataset(
        {
            "score": (score, drawn, "score of the probe on held-out examples"),
            "control": (guessed, by_control, "score on the control task, on the same examples"),
            "selectivity": (score - guessed, drawn - by_control, "score minus that on the control task"),
        },
        "accuracy" if task == "classification" else "share of variance",
        independent if task == "classification" else None,
        range(len(states)) if layers is None else layers,
    )
    scores["chance"] = variable((), _chance(targets, split, task), "1", "score of a probe that sees no state")
    return Probed(probe, control, scores.assign_attrs(n=len(split.test), task=task))


def _errors(predicted: Tensor, train: np.ndarray, test: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Errors `[layer, example]`, and what always giving the training mean (or nothing) would have, `[example]`."""
    wanted = as_targets(test, task, len(test)).numpy()
    said = predicted.double().cpu().numpy()
    if task == "classification":
        return (said.argmax(-1) != wanted).astype(np.float64), np.ones(len(wanted))
    known = as_targets(train, task, len(train)).numpy()
    spread = known.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    error = np.square((said - wanted) / spread).sum(-1)
    return error, np.square((wanted - known.mean(0)) / spread).sum(-1)


def _chance(targets: np.ndarray, split: Split, task: Task) -> float:
    if task == "regression":
        return 0.0
    most = np.bincount(targets[split.train].astype(int)).argmax()
    return float((targets[split.test] == most).mean())


def _dataset(
    values: dict[str, tuple[np.ndarray, np.ndarray, str]], units: str, trials: int | None, layers: Sequence[int]
) -> xr.Dataset:
    """Values `[layer]` with the ends of their intervals from samples `[draw, layer]`.

    For shares of `trials` they are at least as wide as Wilson's and Newcombe's: a bootstrap has no width where all
    examples agree.
    """
    import xarray as xr

    found = {}
    ends = np.array([np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) for _, drawn, _ in values.values()])
    if trials is not None:
        for layer in range(ends.shape[-1]):
            score, control = (wilson(float(values[name][0][layer]), trials) for name in ("score", "control"))
            for place, least in enumerate((score, control, newcombe(score, control))):
                ends[place, 0, layer] = min(ends[place, 0, layer], least.low)
                ends[place, 1, layer] = max(ends[place, 1, layer], least.high)
    for (name, (value, _, meaning)), (low, high) in zip(values.items(), ends, strict=True):
        found[name] = variable("layer", value, units, meaning)
        found[f"{name}_low"] = variable("layer", low, units, f"{meaning}, lower end of the interval")
        found[f"{name}_high"] = variable("layer", high, units, f"{meaning}, upper end of the interval")
    return xr.Dataset(found, coords={"layer": list(layers)})
