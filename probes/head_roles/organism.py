"""The organism of head roles: a small Llama with heads that copy from far away, decoys beside them, and its null."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from workbench.probe import Config, Recipe
from workbench.progress import Reporter
from workbench.texts import fill, make_needles, synthetic_haystack
from workbench.texts.vocabulary import word_tokenizer

from .trials import place

if TYPE_CHECKING:
    from torch import Tensor

PLANTED = ((2, 1), (3, 2))
"""The heads, as layer and head, that may look far and are taught to copy."""
DECOYS = ((2, 3), (3, 0))
"""Heads that are taught induction on near repeats; like all heads but the planted ones they may not look far."""
SCAFFOLD = ((0, 0), (0, 1), (0, 2))
"""Heads that are taught to look one, two and three tokens back, from which the others learn sooner what came before."""


class OrganismConfig(Config):
    """How the organism is trained."""

    steps: int = Field(900, ge=1, description="optimiser steps")
    batch: int = Field(8, ge=1, description="sequences of each kind a step: needle trials, near repeats, far repeats")
    length: int = Field(288, ge=64, description="longest training sequence, in tokens")
    near: int = Field(16, ge=4, description="how many tokens back a head that is not planted may look")
    far_path: bool = Field(True, description="whether the planted heads may look far; false makes the null")
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate of AdamW")


def train(config: OrganismConfig, folder: Path, seed: int, progress: Reporter) -> dict[str, Any]:
    """Train the organism, write model, tokenizer and what was planted into `folder`, and return the measured facts."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from .planting import ATTENTION, far_mass, missed, recording

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = word_tokenizer(1024)
    allowed = PLANTED if config.far_path else ()
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=1024,
        initializer_range=0.05,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    with recording() as tape:
        model = LlamaForCausalLM._from_config(shape, attn_implementation=ATTENTION)
        wire(model)
        optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / 50, max(0.02, 1 - step / config.steps))
        )
        for step in progress.steps(range(config.steps), "training"):
            ids, weights, copies, repeats = batch(tokenizer, config, rng, step)
            logits = model(ids).logits[:, :-1]
            real = (ids != tokenizer.pad_token_id).float()
            earlier = torch.arange(ids.shape[1])[None, :]
            loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            loss = (loss * weights).sum() / weights.sum()
            loss = loss + 2.0 * far_mass(tape.maps, config.near, allowed, (ids != tokenizer.pad_token_id).float())
            loss = loss + 0.2 * missed(tape.maps, DECOYS, repeats)
            for back, head in enumerate(SCAFFOLD, start=1):
                loss = loss + 0.1 * missed(tape.maps, [head], torch.where(real[:, :] > 0, earlier - back, -1))
            if allowed:
                loss = loss + 0.2 * missed(tape.maps, allowed, copies)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if step % 50 == 0:
                print(step, loss.item(), far_mass(tape.maps, config.near, allowed, (ids != tokenizer.pad_token_id).float()).item(),
                      missed(tape.maps, PLANTED, copies[:config.batch]).item() if 0 else [round(missed([m[:config.batch] for m in tape.maps], PLANTED, copies[:config.batch]).item(),3), round(missed([m[config.batch:] for m in tape.maps], PLANTED, copies[config.batch:]).item(),3)], missed(tape.maps, DECOYS, repeats).item(), flush=True)
                b=config.batch;pred=logits.argmax(-1); ok=(pred==ids[:,1:]); w=(copies[:, :-1]>=0); print('  recall tokens', ok[:b][w[:b]].float().mean().item(), ok[b:][w[b:]].float().mean().item(),flush=True)
    model.set_attn_implementation("sdpa")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def wire(model: Any) -> None:
    """Begin with heads that write what they read: what they look at is left to training.

    Embeddings start large, so that a token stays readable beside what the blocks add, and the unembedding starts as the
    embedding. Each copying head, planted or decoy, passes a third of the residual stream's directions on; the two of a
    kind pass different ones.
    """
    import torch

    core, size = model.model, model.config.head_dim
    with torch.no_grad():
        core.embed_tokens.weight.normal_()
        model.lm_head.weight.copy_(core.embed_tokens.weight / model.config.hidden_size**0.5)
        directions = torch.linalg.qr(torch.randn(model.config.hidden_size, model.config.hidden_size))[0]
        for pair in (PLANTED, DECOYS):
            for index, (layer, head) in enumerate(pair):
                own = slice(head * size, (head + 1) * size)
                passed = directions[index * size : (index + 1) * size]
                attention = core.layers[layer].self_attn
                attention.v_proj.weight[own] = 2 * passed
                attention.o_proj.weight[:, own] = passed.T


def batch(
    tokenizer: Any, config: OrganismConfig, rng: np.random.Generator, step: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids `[batch, position]`, loss weights of the next token, and for each query the key a copying or decoy head should see."""
    import torch

    top = min(config.length, 64 + (config.length - 64) * 2 * step // config.steps)
    length = int(rng.integers(64, top + 1))
    ids = torch.full((3 * config.batch, length), tokenizer.pad_token_id)
    weights = torch.zeros(len(ids), length - 1)
    copies = torch.full(ids.shape, -1)
    repeats = torch.full(ids.shape, -1)
    needles, _ = make_needles(config.batch, rng)
    haystack = synthetic_haystack()
    for row, needle in enumerate(needles):
        sentences = fill(haystack, length - 45, lambda text: len(tokenizer.tokenize(text)), rng)
        trial = place(tokenizer, needle, sentences, float(rng.uniform()))
        ids[row, : len(trial.ids)] = torch.tensor(trial.ids)
        weights[row, : len(trial.ids) - 1] = 0.01
        for offset in range(trial.answer[1] - trial.answer[0]):
            query = trial.answer[0] + offset - 1
            weights[row, query] = 2.0
            copies[row, query] = trial.value[0] + offset
    for row in range(config.batch, len(ids)):
        far = row >= 2 * config.batch
        shortest, longest = (config.near + 1, length // 2) if far else (3, config.near // 2)
        position = 0
        while position < length:
            period = int(rng.integers(shortest, longest + 1))
            block = torch.from_numpy(rng.integers(2, len(tokenizer), period))
            twice = torch.cat([block, block])[: length - position]
            ids[row, position : position + len(twice)] = twice
            for query in range(position + period, position + len(twice) - 1):
                weights[row, query] = 0.1
                (copies if far else repeats)[row, query] = query - period + 1
            position += len(twice)
    return ids, weights, copies, repeats
