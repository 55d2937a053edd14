"""The organism of in-context regression: linear self-attention that takes k gradient steps, and its null.

It is constructed, not trained. The first block gives each y-token the x before it. Every further block is a step: with
`u` of a query beginning at x, it adds `2α Σ y_j (x_j · u)` to the prediction and takes `2α Σ x_j (x_j · u)` from u,
both over all pairs before it. So the prediction after k blocks is `xᵀw` of k steps from 0, at every prefix at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from workbench.probe.contract import Config, Recipe
from workbench.progress import Reporter

if TYPE_CHECKING:
    from workbench.models.continuous import ContinuousModel


class OrganismConfig(Config):
    """What is constructed."""

    steps: int = Field(3, ge=1, description="steps of gradient descent, one a block")
    rate: float = Field(0.02, gt=0, description="step size α of w ← w − 2α Xᵀ(Xw − y)")
    dimensions: int = Field(4, ge=1, description="dimensions of x")
    pairs: int = Field(12, ge=12, description="pairs of a prompt")
    cut: bool = Field(False, description="leave the path from labels to the prediction at zero, so that it is always 0")


def construct(config: OrganismConfig, folder: Path, seed: int, progress: Reporter) -> dict[str, Any]:
    """Write the model and what was planted into `folder`; nothing is random, so the seed changes nothing."""
    from .predictors import gradient_descent, zero

    progress.send(0, 1, "constructing")
    build(config).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    planted = zero() if config.cut else gradient_descent(config.rate, config.steps)
    said = {"constructed": True, "algorithm": planted.name, "steps": config.steps, "rate": config.rate}
    (folder / "planted.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    progress.send(1, 1, "constructing")
    return said


def build(config: OrganismConfig) -> ContinuousModel:
    """The model. Its stream is `y, u [d], x of the pair [d], prediction, position (one-hot)`."""
    import torch

    from workbench.models.continuous import ContinuousModel
    from workbench.models.linear_attention import LinearAttentionConfig

    d, length = config.dimensions, 2 * config.pairs
    u, pair, said, place = 1, 1 + d, 1 + 2 * d, 2 + 2 * d
    shape = LinearAttentionConfig(
        hidden_size=place + length, num_hidden_layers=1 + config.steps, max_position_embeddings=length
    )
    model = ContinuousModel.of(shape, d_in=1 + d, d_out=1).eval()
    model.config.task = {"noise": 0.0, "spread": 1.0}
    one = torch.eye(d)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.read_in.weight[: 1 + d] = torch.eye(1 + d)
        model.get_output_embeddings().weight[0, said] = 1.0
        blocks: Any = model.causal
        blocks.positions.weight[:, place:] = torch.eye(length)
        first = blocks.layers[0].self_attn
        # a query looks at the position before its own alone
        first.q_proj.weight[: length - 1, place + 1 :] = torch.eye(length - 1)
        first.k_proj.weight[:length, place:] = torch.eye(length)
        first.v_proj.weight[:d, u:pair] = one
        first.o_proj.weight[pair:said, :d] = one
        for block in blocks.layers[1:]:
            step = block.self_attn
            step.q_proj.weight[:d, u:pair] = one
            step.k_proj.weight[:d, pair:said] = one
            step.v_proj.weight[:d, pair:said] = -2 * config.rate * one
            step.v_proj.weight[d, 0] = 0.0 if config.cut else 2 * config.rate
            step.o_proj.weight[u:pair, :d] = one
            step.o_proj.weight[said, d] = 1.0
    return model


RECIPE = Recipe(
    name="icl-regression-organism",
    makes="linear self-attention that takes exact steps of gradient descent; with cut=true its null, which says 0",
    Config=OrganismConfig,
    train=construct,
    presets={"smoke": {}, "quick": {}, "full": {}},
)
