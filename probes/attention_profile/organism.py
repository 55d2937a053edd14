"""The organism of attention profiles: heads whose every statistic has a closed form, and the null, all of them uniform.

It is constructed, not trained: a GPT-2 whose residual stream is the token's position as a one-hot vector, so that each
head's queries and keys can be written down as tables over positions. Its weights are exact but for rounding.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from workbench.probe.contract import Config, Recipe
from workbench.progress import Reporter
from workbench.texts.vocabulary import word_tokenizer

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

LENGTH = 128
"""Positions, and the size of the residual stream."""
HEAD_SIZE = 32
BLOCK = 16
"""Positions of one block, for heads that attend within theirs."""
SHARP = 2.5
"""Factor on the position features of heads that look at one key: every other key has less than e⁻²⁸ of its weight."""

Kind = Literal["uniform", "sink", "distance", "half", "anchor", "mixed"]


@dataclass(frozen=True)
class Planted:
    """What one head does.

    uniform: all scores are 0. sink: key 0 has score `strength`, the others 0. distance: only the key `steps` before the
    query, or key 0. half: only the key at half the query's position. anchor: only the key at position `steps`, or the
    query itself before that. mixed: scores `strength` for key 0 and `local` for keys in the query's block, added up.
    """

    kind: Kind
    strength: float = 0.0
    local: float = 0.0
    steps: int = 0


HEADS: dict[tuple[int, int], Planted] = {
    (0, 0): Planted("uniform"),
    (0, 1): Planted("sink", strength=4.0),
    (0, 2): Planted("distance", steps=0),
    (0, 3): Planted("anchor", steps=8),
    (1, 0): Planted("distance", steps=7),
    (1, 1): Planted("half"),
    (1, 2): Planted("mixed", strength=3.0, local=2.0),
    (1, 3): Planted("sink", strength=60.0),
    (2, 0): Planted("mixed", strength=0.0, local=3.0),
    (2, 1): Planted("distance", steps=20),
    (2, 2): Planted("uniform"),
    (2, 3): Planted("sink", strength=1.0),
}
"""Layer and head with what was planted; 0.2 and 0.3 are decoys: peaked like a sink head, on other keys."""


class OrganismConfig(Config):
    """What is constructed."""

    cut: bool = Field(False, description="leave the queries of every head at zero, so that all of them attend evenly")


def construct(config: OrganismConfig, folder: Path, seed: int, progress: Reporter) -> dict[str, Any]:
    """Write model, tokenizer and what was planted into `folder`; nothing is random, so the seed changes nothing."""
    model = build({} if config.cut else HEADS)
    tokenizer = word_tokenizer(LENGTH)
    progress.send(1, 2, "constructing")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    planted = {
        f"{layer}.{head}": asdict(Planted("uniform") if config.cut else one) for (layer, head), one in HEADS.items()
    }
    (folder / "planted.json").write_text(
        json.dumps({"constructed": True, "heads": planted}, indent=2) + "\n", encoding="utf-8"
    )
    progress.send(2, 2, "constructing")
    return {"heads": len(HEADS), "constructed": True}


def build(heads: dict[tuple[int, int], Planted]) -> GPT2LMHeadModel:
    """The model with these heads; all others attend evenly."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    layers = max(layer for layer, _ in HEADS) + 1
    shape = GPT2Config(
        vocab_size=len(word_tokenizer(LENGTH)),
        n_positions=LENGTH,
        n_embd=LENGTH,
        n_layer=layers,
        n_head=LENGTH // HEAD_SIZE,
        n_inner=4,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = GPT2LMHeadModel(shape).eval()
    mean = 1 / LENGTH
    spread = (mean * (1 - mean) + shape.layer_norm_epsilon) ** 0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("transformer.ln_f"):
                parameter.zero_()
        model.transformer.wpe.weight.copy_(torch.eye(LENGTH))
        for layer, block in enumerate(model.transformer.h):
            # what the norm makes of a one-hot vector is that vector again
            block.ln_1.weight.fill_(spread)
            block.ln_1.bias.fill_(mean)
            for head in range(shape.n_head):
                q, k = tables(heads.get((layer, head), Planted("uniform")))
                at = head * HEAD_SIZE
                block.attn.c_attn.weight[:, at : at + HEAD_SIZE] = torch.from_numpy(q * HEAD_SIZE**0.5).float()
                block.attn.c_attn.weight[:, LENGTH + at : LENGTH + at + HEAD_SIZE] = torch.from_numpy(k).float()
    return model


def tables(head: Planted) -> tuple[np.ndarray, np.ndarray]:
    """Queries and keys of a head by position, `[position, d_head]`; their product is the score."""
    position = np.arange(LENGTH)
    q, k = np.zeros((LENGTH, HEAD_SIZE)), np.zeros((LENGTH, HEAD_SIZE))
    if head.kind in ("distance", "half", "anchor"):
        target = {
            "distance": np.maximum(position - head.steps, 0),
            "half": position // 2,
            "anchor": np.minimum(position, head.steps),
        }[head.kind]
        waves = features(position)
        return SHARP * waves[target], waves
    if head.kind != "uniform":
        blocks = np.eye(LENGTH // BLOCK)[position // BLOCK]
        q[:, 0], k[0, 0] = head.strength, 1.0
        q[:, 1 : 1 + blocks.shape[1]], k[:, 1 : 1 + blocks.shape[1]] = head.local * blocks, blocks
    return q, k


def features(position: np.ndarray) -> np.ndarray:
    """Waves of positions `[position, d_head]`: the product of two is 16 for equal positions, else below 4.4."""
    frequencies = np.random.default_rng(580).uniform(0, 2 * np.pi, HEAD_SIZE // 2)  # the best seed among 3,000
    angles = position[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


RECIPE = Recipe(
    name="attention-profile-organism",
    makes="organism/attention-profile, whose heads have closed forms; with cut=true its null, all heads uniform",
    Config=OrganismConfig,
    train=construct,
    presets={"smoke": {}, "quick": {}, "full": {}},
)
