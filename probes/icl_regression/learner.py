"""Learners: small transformers, and linear self-attention, trained on prompts that each have weights of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from workbench.probe.contract import Config, Recipe
from workbench.progress import Reporter

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from workbench.models.continuous import ContinuousModel

    from .prompts import Prompts

Labels = Literal["own", "fixed", "shuffled"]
EVERY = 500
"""Steps between two states that a stopped training can go on from."""


class LearnerConfig(Config):
    """A learner's size, its prompts, and how it is trained."""

    layers: int = Field(4, ge=1, description="blocks")
    width: int = Field(64, ge=4, description="size of the residual stream")
    heads: int = Field(4, ge=1, description="attention heads of a block")
    dimensions: int = Field(4, ge=1, description="dimensions of x")
    pairs: int = Field(12, ge=12, description="pairs of a prompt; the learner has positions for these and no more")
    noise: float = Field(0.0, ge=0, description="σ, the deviation of the labels' noise")
    spread: float = Field(1.0, gt=0, description="τ, the deviation of each task's weights")
    labels: Labels = Field(
        "own",
        description="weights of its own for every prompt; w = 1 for all, which makes the control; or shuffled labels",
    )
    steps: int = Field(8000, ge=1, description="optimiser steps")
    rows: int = Field(64, ge=1, description="prompts of a step")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of Adam")

    @model_validator(mode="after")
    def _consistent(self) -> LearnerConfig:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) is no multiple of heads ({self.heads})")
        return self


def train(config: LearnerConfig, folder: Path, seed: int, progress: Reporter) -> dict[str, Any]:
    """Train a learner to predict every label of a prompt from the pairs before it, and write it into `folder`.

    Pre-norm blocks of GPT-2 without dropout; mean squared error over all labels, the first one included.
    """
    import numpy as np
    import torch

    from workbench.probe.training_loop import STATE, Checkpoint, Optimiser, Schedule, fit

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = transformer(config).train()

    def loss(step: int) -> Tensor:
        return error(model, training_prompts(config, rng))

    how = Optimiser(config.learning_rate, Schedule(config.steps, warm_up=config.steps / 16), clip=1.0)
    state = Checkpoint(folder / STATE, EVERY, config.model_dump(mode="json") | {"seed": seed})
    weights = {name: each for name, each in model.named_parameters() if each.requires_grad}
    losses = fit(weights, loss, how, progress, "training", rng, state)
    state.path.unlink(missing_ok=True)
    model.eval().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    said = {"constructed": False, **config.model_dump(mode="json")}
    (folder / "planted.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    # of thousands of losses, means over equal stretches
    parts = np.array_split(np.asarray(losses), min(len(losses), 100))
    return {"losses": [round(float(part.mean()), 6) for part in parts]}


def transformer(config: LearnerConfig) -> ContinuousModel:
    """The learner with fresh weights."""
    from transformers import GPT2Config

    from workbench.models.continuous import ContinuousModel

    shape = GPT2Config(
        n_layer=config.layers,
        n_embd=config.width,
        n_head=config.heads,
        n_inner=2 * config.width,
        n_positions=2 * config.pairs,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        # as large as U(−1/√width, 1/√width)
        initializer_range=(3 * config.width) ** -0.5,
    )
    model = ContinuousModel.of(shape, d_in=1 + config.dimensions, d_out=1)
    model.config.task = {"noise": config.noise, "spread": config.spread}
    return model


def training_prompts(config: LearnerConfig, rng: np.random.Generator) -> Prompts:
    """Fresh prompts of one step."""
    import numpy as np
    import torch

    from .prompts import Prompts, sample

    fixed = np.ones(config.dimensions) if config.labels == "fixed" else None
    made = sample(config.rows, config.pairs, config.dimensions, rng, config.noise, config.spread, weights=fixed)
    if config.labels != "shuffled":
        return made
    order = torch.from_numpy(rng.permutation(made.y.numel()))
    return Prompts(made.x, made.y.flatten()[order].view_as(made.y), made.w)


def error(model: ContinuousModel, prompts: Prompts) -> Tensor:
    """Mean squared error over all labels of all prompts."""
    from .prompts import tokens

    said = model(tokens(prompts.x, prompts.y), use_cache=False).logits[:, 0::2, 0]
    return (said - prompts.y.to(said)).square().mean()


RECIPE = Recipe(
    name="icl-learner",
    makes="a small transformer trained to continue prompts of pairs (x, y), each prompt with weights of its own",
    Config=LearnerConfig,
    train=train,
    presets={"smoke": {"steps": 2, "rows": 4, "layers": 1, "width": 8, "heads": 2}},
    resumable=True,
)
