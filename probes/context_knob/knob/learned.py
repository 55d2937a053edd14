"""The direction that a run steers with, its controls, and the values that were chosen for each arm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from workbench.errors import UsageError
from workbench.internals.projection import unit
from workbench.internals.steering import SteeringSpec
from workbench.models.registered import DEFAULT

from ..evaluation.answers import Pair
from ..learning.adapter_on_off import SHIPPED
from ..learning.layer_sweep import choose, stretched
from .knob import SETTINGS, Knob, knobs, load

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session

CONTROLS = "controls.safetensors"


@dataclass(frozen=True)
class SteeringDirection:
    """A direction after a block.

    means: mean state under each intent, `[intent, d_model]`. shuffled: what shuffled labels gave. stretch: for each
    arm, how far from the middle of the natural values it is set, as a multiple.
    """

    layer: int
    direction: Tensor
    means: Tensor
    shuffled: Tensor
    stretch: Mapping[str, float]

    @property
    def difference(self) -> Tensor:
        """The difference of the means, of length one."""
        gap = self.means[1] - self.means[0]
        return unit(gap) if float(gap.norm()) > 0 else torch.zeros_like(gap)

    @property
    def natural(self) -> tuple[float, float]:
        """Mean value along the direction under each intent."""
        along = self.means @ self.direction
        return float(along[0]), float(along[1])

    def pair(self, arm: str, direction: Tensor | None = None) -> Pair:
        """What is set along a direction for the prior and for the context.

        Along the knob's own, the stretched natural values. Along another, values as far from the middle of its own
        natural ones, and on the side that these are on.
        """
        prior, context = stretched(self.natural, self.stretch[arm])
        if direction is None:
            return SteeringSpec(self.layer, self.direction, prior), SteeringSpec(self.layer, self.direction, context)
        along = self.means @ direction
        middle, half = float(along.mean()), abs(context - prior) / 2
        side = 1.0 if float(along[1]) >= float(along[0]) else -1.0
        return (
            SteeringSpec(self.layer, direction, middle - side * half),
            SteeringSpec(self.layer, direction, middle + side * half),
        )

    def settings(self, arm: str, random: Mapping[str, Tensor]) -> dict[str, Pair]:
        """The knob and its controls: difference of means, shuffled labels, random directions."""
        others = {"difference": self.difference, "shuffled": self.shuffled, **random}
        kept = {name: each for name, each in others.items() if float(each.norm()) > 0}
        return {"knob": self.pair(arm), **{name: self.pair(arm, each) for name, each in kept.items()}}

    def knob(self, arm: str, model: str) -> Knob:
        prior, context = self.pair(arm)
        return Knob(self.direction, self.layer, prior.value, context.value, model)

    def save(self, folder: Path, arm: str, model: str) -> None:
        """Write the knob with the values of one arm, and beside it what its controls and the other arm need."""
        from safetensors.torch import save_file

        self.knob(arm, model).save(folder)
        controls = {"means": self.means.float().contiguous(), "shuffled": self.shuffled.float().contiguous()}
        save_file(controls, folder / CONTROLS, metadata={"stretch": json.dumps(dict(self.stretch))})


def random_directions(count: int, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """Unit vectors drawn evenly over all directions, by name."""
    return {f"random-{place}": unit(torch.from_numpy(rng.standard_normal(size)).float()) for place in range(count)}


def at_block(swept: xr.Dataset, place: int, stretch: Mapping[str, float]) -> SteeringDirection:
    """What a sweep found at one of its blocks, by index."""

    direction, means = (torch.from_numpy(swept[name].values[place]).float() for name in ("direction", "means"))
    shuffled = torch.from_numpy(swept["shuffled"].values).float()
    return SteeringDirection(int(swept["layer"].values[place]), direction, means, shuffled, stretch)


def best(swept: xr.Dataset) -> tuple[int, float]:
    """Index of the best block of a sweep, and the stretch chosen for the model that it was made on."""
    layer, stretch = choose(swept["right"].values)
    return layer, float(swept["stretch"].values[stretch])


def wanted_knob(session: Session, asked: str, adapted: str | None) -> str | None:
    """The saved knob to use: with `auto`, the shipped one on the default model with its shipped adapter."""
    if asked == "learn":
        return None
    if asked != "auto":
        return asked
    fits = session.info.id == DEFAULT and adapted == f"adapter/{SHIPPED}"
    return SHIPPED if fits and SHIPPED in knobs() else None


def read(name: str) -> SteeringDirection:
    """A saved knob with its controls, for the arms that it was chosen for.

    Raises `UsageError` if the controls are not beside it.
    """
    from safetensors import SafetensorError, safe_open

    knob = load(name)
    folder = knobs().get(name, Path(name))
    try:
        with safe_open(folder / CONTROLS, framework="pt") as held:
            stretch: dict[str, Any] = json.loads((held.metadata() or {})["stretch"])
            means, shuffled = held.get_tensor("means"), held.get_tensor("shuffled")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UsageError(
            f"beside {folder / SETTINGS} there is no readable {CONTROLS} ({error}); make the knob with "
            "`workbench train context-knob-direction`, or set knob=learn"
        ) from None
    return SteeringDirection(knob.layer, knob.direction, means, shuffled, stretch)
