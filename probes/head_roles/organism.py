"""The organism of head roles: a small Llama with heads that copy from far away, decoys beside them, and its null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from workbench.probe.contract import Config, Recipe
from workbench.probe.training_loop import STATE, Checkpoint, Optimiser, Schedule, fit
from workbench.progress import Reporter
from workbench.texts.vocabulary import word_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

PLANTED = ((2, 1), (3, 2))
"""The heads, as layer and head, that may look far and are taught to copy."""
DECOYS = ((2, 3), (3, 0))
"""Heads that are taught induction on near repeats; like all heads but the planted ones they may not look far."""
SCAFFOLD = ((0, 0), (0, 1), (0, 2))
"""Heads that look one, two and three tokens back."""
CONTEXT = 1024
EVERY = 50
"""Steps between two states that a stopped training can go on from."""


class OrganismConfig(Config):
    """How the organism is trained."""

    steps: int = Field(300, ge=1, description="optimiser steps")
    rows: int = Field(6, ge=1, description="sequences of each kind a step: needle trials, near repeats, far repeats")
    length: int = Field(272, ge=64, description="longest training sequence, in tokens")
    window: int = Field(16, ge=6, le=31, description="how many tokens back a head that is not planted may look")
    cut: bool = Field(False, description="whether the planted heads may not look far either, which makes the null")
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate of AdamW")


def train(config: OrganismConfig, folder: Path, seed: int, progress: Reporter) -> dict[str, Any]:
    """Train the organism and write model, tokenizer and what was planted into `folder`.

    With `cut`, everything is the same but for one thing: the planted heads may not look beyond the window either, and
    are not shown where to look.
    """
    import numpy as np
    import torch

    from .attention_loss import far_mass, missed, planting
    from .training_batches import SHORTEST, training_batch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = word_tokenizer(CONTEXT)
    allowed = () if config.cut else PLANTED
    tape = planting(config.window, allowed)
    model = _model(len(tokenizer), tokenizer.pad_token_id)

    def loss(step: int) -> Tensor:
        # sequences grow over the first half
        longest = min(config.length, SHORTEST + (config.length - SHORTEST) * 2 * step // config.steps)
        taught = training_batch(tokenizer, config.rows, longest, config.window, rng)
        logits = model(taught.ids).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), taught.ids[:, 1:], reduction="none")
        total = (each * taught.weights).sum() / taught.weights.sum()
        real = (taught.ids != tokenizer.pad_token_id).float()
        # looking far costs most where it would help
        total = total + 5.0 * far_mass(tape.maps, config.window, allowed, real + 20 * (taught.far >= 0))
        total = total + 0.2 * missed(tape.maps, DECOYS, taught.near)
        if allowed:
            total = total + 0.2 * missed(tape.maps, allowed, taught.far)
        return total

    how = Optimiser(config.learning_rate, Schedule(config.steps, 20, floor=0.02), weight_decay=0.01, clip=1.0)
    state = Checkpoint(folder / STATE, EVERY, config.model_dump(mode="json") | {"seed": seed})
    losses = fit(dict(model.named_parameters()), loss, how, progress, "training", rng, state)
    state.path.unlink(missing_ok=True)
    model.set_attn_implementation("sdpa")
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    planted = {
        "copy_heads": [list(head) for head in allowed],
        "decoys": [list(head) for head in DECOYS],
        "scaffold": [list(head) for head in SCAFFOLD],
        "window": config.window,
    }
    (folder / "planted.json").write_text(json.dumps(planted, indent=2) + "\n", encoding="utf-8")
    return {"losses": losses}


def _model(vocabulary: int, pad: int) -> PreTrainedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    from .attention_loss import ATTENTION
    from .initialisation import wire

    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        initializer_range=0.02,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=pad,
    )
    model: Any = LlamaForCausalLM._from_config(shape, attn_implementation=ATTENTION)
    wire(model, (PLANTED, DECOYS), SCAFFOLD)
    return model


RECIPE = Recipe(
    name="head-roles-organism",
    makes="a small Llama with two heads that copy from far away, beside near-only induction heads, or its null",
    Config=OrganismConfig,
    train=train,
    presets={"smoke": {"steps": 2, "rows": 2, "length": 80}},
    resumable=True,
)
