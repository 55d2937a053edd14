"""What is planted is exact, and linear self-attention finds the optimal step by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import workbench as wb
from workbench.internals.session import Session, load
from workbench.probe.training_loop import Optimiser, Schedule, fit
from workbench.probes.icl_regression.organism import OrganismConfig, build
from workbench.probes.icl_regression.predictors import candidates, optimal_step
from workbench.probes.icl_regression.prompts import sample, tokens
from workbench.progress import Reporter

ORGANISMS = Path(__file__).parents[3] / "data" / "organisms"
PROMPTS = sample(256, 12, 4, np.random.default_rng(0))


@pytest.mark.parametrize("name", ("icl-lsa", "icl-regression", "icl-regression-null"))
def test_the_shipped_organism_is_what_it_says(name: str) -> None:
    """Mean squared difference over d, of predictions of the order of 1."""
    planted = json.loads((ORGANISMS / name / "planted.json").read_text("utf-8"))["algorithm"]
    found = {each.name: each for each in candidates((0.1,), (0.02,), (3,))}[planted]
    said = wb.load(f"organism/{name}").logits(tokens(PROMPTS.x, PROMPTS.y))[:, 0::2, 0]
    apart = (found.predict(PROMPTS.x, PROMPTS.y) - said).square().mean(0) / 4
    assert float(apart.max()) <= 1e-8
    assert planted == {"icl-lsa": "gd 0.02", "icl-regression": "gd 0.02 ×3", "icl-regression-null": "zero"}[name]


def test_nnsight_reads_and_edits_it_alike() -> None:
    session = load(build(OrganismConfig(steps=2)))
    values = tokens(PROMPTS.x[:4], PROMPTS.y[:4])
    found = [session.capture(values, ["resid_post.1"], logits=True, engine=each) for each in ("hf", "nnsight")]
    torch.testing.assert_close(found[0]["resid_post.1"], found[1]["resid_post.1"])
    assert found[0].logits is not None and found[1].logits is not None
    torch.testing.assert_close(found[0].logits, found[1].logits)


def test_a_longer_prompt_is_refused() -> None:
    with pytest.raises(wb.WorkbenchError, match="24"):
        load(build(OrganismConfig())).logits(torch.zeros(1, 25, 5))


def test_five_seconds_of_training_end_at_the_optimal_step() -> None:
    """One trained block at n = 11: its error comes near (d+1)/(n+d+1), and its predictions near the optimal step's."""
    n, d = 11, 4
    torch.manual_seed(0)
    model = build(OrganismConfig(steps=1))
    inner: Any = model.causal
    weights = dict(inner.layers[1].named_parameters())
    with torch.no_grad():
        for each in weights.values():
            each.copy_(0.02 * torch.randn_like(each))
    rng = np.random.default_rng(1)

    def said(values: Tensor) -> Tensor:
        return model(values).logits[:, -1, 0]

    def loss(step: int) -> Tensor:
        drawn = sample(64, n + 1, d, rng)
        return (said(tokens(drawn.x, drawn.y)) - drawn.y[:, -1].float()).square().mean()

    fit(weights, loss, Optimiser(1e-2, Schedule(400, 20), clip=1.0), Reporter(), "training", rng)
    held_out = sample(2000, n + 1, d, np.random.default_rng(2))
    with torch.no_grad():
        found = said(tokens(held_out.x, held_out.y)).double()
    error = float((found - held_out.y[:, -1]).square().mean()) / d
    assert error == pytest.approx((d + 1) / (n + d + 1), rel=0.1)
    best = optimal_step().predict(held_out.x, held_out.y)[:, -1]
    assert float((found - best).square().mean()) / d < 0.02


def test_the_constructed_weights_are_those_of_the_recipe(tmp_path: Path) -> None:
    def weights(session: Session) -> dict[str, Tensor]:
        return session.model.state_dict()

    shipped, made = weights(wb.load("organism/icl-regression")), build(OrganismConfig()).state_dict()
    assert shipped.keys() == made.keys()
    assert all(torch.equal(shipped[name], each) for name, each in made.items())
