"""Where one direction decides: a direction learnt at each block, and steering with it on the validation items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.internals.prefix_cache import prefill
from workbench.internals.steering import SteeringSpec, steered
from workbench.records.results import variable
from workbench.texts.facts import Item

from ..config import ContextKnobConfig
from ..task.matching import pair_accuracy, rule
from ..task.prompting import Prompter
from .interchange import CounterfactualPairs, LearntDirection, counterfactual_pairs, learn

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.probe.contract import RunContext

INTENTS = ["prior", "context"]
INTENT_DIM = ("intent", INTENTS, {"description": "where the answer is to come from"})


def blocks(config: ContextKnobConfig, layers: int) -> list[int]:
    """The blocks of the sweep, in order."""
    if config.layers is not None:
        return sorted({layer for layer in config.layers if layer < layers})
    if config.blocks >= layers:
        return list(range(layers))
    return sorted({round((place + 1) * layers / (config.blocks + 1)) for place in range(config.blocks)})


def sweep(
    session: Session,
    train: Sequence[Item],
    validation: Sequence[Item],
    config: ContextKnobConfig,
    context: RunContext,
) -> xr.Dataset:
    """Learn a direction at each block, then steer the validation items without any intent line.

    `right [layer, stretch, intent, example]` by the rule of the settings, and for each block the direction, the means
    of the states by intent, and the losses; for the best block also a direction learnt on shuffled labels.
    """
    import xarray as xr

    chosen = blocks(config, session.shape.layers)
    taught = counterfactual_pairs(session, train, config.intent, chosen, config.begun)
    made = [_block(session, taught, layer, config, context) for layer in chosen]
    settings = [
        SteeringSpec(block.layer, block.direction, value)
        for block in made
        for stretch in config.stretches
        for value in stretched(block.natural, stretch)
    ]
    prompter = Prompter(session, config.begun)
    waiting = prefill(session, [prompter.ask(item, False, "none") for item in validation])
    said = steered(session, waiting, settings, context.progress, "steering the validation items")
    judged = judge(said, validation, config).reshape(len(chosen), len(config.stretches), 2, len(validation))
    shuffled = _learn(session, taught, chosen[choose(judged)[0]], config, context, shuffled=True)
    return xr.Dataset(
        {
            "right": variable(("layer", "stretch", "intent", "example"), judged, "", "right"),
            "direction": variable(
                ("layer", "feature"),
                torch.stack([block.direction for block in made]).numpy(),
                "",
                "direction learnt by interchange, of length one",
            ),
            "shuffled": variable(
                "feature",
                shuffled.direction.numpy(),
                "",
                "direction learnt on shuffled labels at the best block, of length one",
            ),
            "means": variable(
                ("layer", "intent", "feature"),
                np.stack([block.means for block in made]),
                "",
                "mean state of the last token, over the training items",
            ),
            "losses": variable(
                ("layer", "step"),
                np.array([block.losses for block in made]),
                "nats",
                "cross-entropy of the other intent's first answer token",
            ),
            "confident": variable((), int(taught.confident.sum()), "rows", "rows that a direction could be learnt on"),
        },
        coords={
            "layer": chosen,
            "stretch": ("stretch", list(config.stretches), {"description": "values, as multiples of the natural ones"}),
            "intent": INTENT_DIM,
            "example": range(len(validation)),
            "step": range(config.steps),
            "feature": range(session.shape.d_model),
        },
    )


def judge(said: Sequence[Sequence[str]], items: Sequence[Item], config: ContextKnobConfig) -> np.ndarray:
    """Whether steered answers are right, `[setting, example]`; settings turn to the prior and the context by turns."""
    return np.array(
        [
            [
                rule(config.matching, item.task)(text, item.answer(place % 2 == 1))
                for text, item in zip(row, items, strict=True)
            ]
            for place, row in enumerate(said)
        ]
    )


@dataclass(frozen=True)
class Block:
    """What was learnt at one block."""

    layer: int
    direction: torch.Tensor
    means: np.ndarray
    losses: list[float]

    @property
    def natural(self) -> tuple[float, float]:
        """Mean value along the direction under each intent."""
        along = self.means @ self.direction.numpy()
        return float(along[0]), float(along[1])


def stretched(natural: tuple[float, float], stretch: float) -> tuple[float, float]:
    """Values around the middle of the natural ones, `stretch` times as far from it."""
    middle = (natural[0] + natural[1]) / 2
    return middle + stretch * (natural[0] - middle), middle + stretch * (natural[1] - middle)


def choose(right: np.ndarray) -> tuple[int, int]:
    """Block and stretch, by index, with the best pair accuracy of `right [layer, stretch, intent, example]`.

    Of equals, the block that is best over all stretches, then the one in the middle of those; then the smallest
    stretch.
    """
    pairs = pair_accuracy(right).mean(-1)
    best = pairs.max(1)
    at = np.flatnonzero((best == best.max()) & (pairs.mean(1) == pairs.mean(1)[best == best.max()].max()))
    layer = int(at[(len(at) - 1) // 2])
    return layer, int(pairs[layer].argmax())


def _block(
    session: Session, taught: CounterfactualPairs, layer: int, config: ContextKnobConfig, context: RunContext
) -> Block:
    found = _learn(session, taught, layer, config, context)
    states = taught.at(layer)
    means = torch.stack([states[0::2].mean(0), states[1::2].mean(0)]).numpy()
    return Block(layer, found.direction, means, found.losses)


def _learn(
    session: Session,
    taught: CounterfactualPairs,
    layer: int,
    config: ContextKnobConfig,
    context: RunContext,
    shuffled: bool = False,
) -> LearntDirection:
    rng = context.rng(f"{'shuffled' if shuffled else 'direction'} {layer}")
    how = (config.steps, config.batch, config.learning_rate)
    return learn(session, taught, layer, *how, rng, context.progress, shuffled)
