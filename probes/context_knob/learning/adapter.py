"""The recipe of the adapter: LoRA on the attention projections, trained to follow the intent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from workbench.errors import UsageError
from workbench.internals.adapter_switch import as_before
from workbench.probe.contract import Config, Recipe
from workbench.probe.training_loop import STATE, Checkpoint, Optimiser, Schedule, fit
from workbench.progress import Reporter
from workbench.texts.facts import BUILT_IN, Fact, make_item, read_facts, split_of

from ..task.prompting import Intent, Prompter

if TYPE_CHECKING:
    import torch

    from workbench.internals.session import Session


class AdapterConfig(Config):
    """How the adapter is trained."""

    data: str = Field(
        BUILT_IN, description=f"facts: {BUILT_IN!r}, a JSON file in Fakepedia's format, or hub:owner/name/file"
    )
    intent: Intent = Field("instruction", description="how prompts tell the intent")
    steps: int = Field(60, ge=1, description="optimiser steps")
    pairs: int = Field(4, ge=1, description="pairs of prompts a step: one item under both intents")
    rank: int = Field(16, ge=1, description="rank of the adapter")
    modules: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj"), description="projections that it is put on, by their names"
    )
    learning_rate: float = Field(6e-4, gt=0, description="peak learning rate of AdamW")
    warm_up: int = Field(5, ge=0, description="steps over which the learning rate rises; then it falls to 0")
    every: int = Field(20, ge=1, description="steps between two states that a stopped training can go on from")


def train(config: AdapterConfig, folder: Path, seed: int, progress: Reporter, session: Session) -> dict[str, Any]:
    """Train an adapter on facts of the train split that the model knows, and write it into the folder.

    The weights of the model are left as they were. Raises `UsageError` if the model knows no fact of the split, has an
    adapter already, or lacks a projection.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    from ..task.prior_knowledge import known_items

    if session.info.adapter is not None:
        raise UsageError("the model has an adapter already; load it without one")
    facts = [fact for fact in read_facts(config.data).facts if split_of(fact.subject) == "train"]
    kept = folder / STATE
    before = Checkpoint.read(kept)
    if before is None:
        learnt = [index for index, yes in enumerate(known_items(session, facts, progress)) if yes]
    else:
        learnt = before["known"].tolist()
    facts = [facts[index] for index in learnt]
    if not facts:
        raise UsageError("the model knows none of the facts for training; give other facts as data")
    torch.manual_seed(seed)
    made_with = {**config.model_dump(mode="json", exclude={"every"}), "seed": seed, "model": session.info.id}
    state = Checkpoint(kept, config.every, made_with, {"known": torch.tensor(learnt)})
    rate = Schedule(config.steps, config.warm_up + 1, falls_from=config.warm_up)
    how = Optimiser(config.learning_rate, rate, weight_decay=0.01, clip=1.0)
    prompter = Prompter(session)

    def loss(step: int) -> torch.Tensor:
        return _loss(model, *_batch(facts, config, [seed, step], prompter, session))

    settings = LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=list(config.modules), bias="none")
    with session.borrowed(), as_before(session.model):
        try:
            model: Any = get_peft_model(session.model, settings)
        except ValueError as error:
            raise UsageError(f"the adapter does not fit this model: {str(error).splitlines()[0][:200]}") from None
        weights = {name: each for name, each in model.named_parameters() if each.requires_grad}
        losses = fit(weights, loss, how, progress, "training the adapter", checkpoint=state)
        model.peft_config["default"].base_model_name_or_path = session.info.id
        model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    used = sorted({fact.subject for fact in facts})
    (folder / "trained_on.json").write_text(json.dumps(used, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    kept.unlink(missing_ok=True)
    return {"losses": losses}


def _batch(
    facts: Sequence[Fact], config: AdapterConfig, seed: Sequence[int], prompter: Prompter, session: Session
) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and answers of one step; they depend on the seed and the step alone."""
    import numpy as np

    rng = np.random.default_rng(seed)
    end = session.tokenizer.eos_token_id
    rows, answers = [], []
    for index in rng.choice(len(facts), config.pairs, replace=len(facts) < config.pairs):
        item = make_item(facts[int(index)], "sentence", rng)
        for way in (False, True):
            rows.append(prompter.ask(item, way, config.intent))
            answers.append([*prompter.answer(item.answer(way)), *([] if end is None else [end])])
    return rows, answers


def _loss(model: Any, rows: Sequence[list[int]], answers: Sequence[list[int]]) -> torch.Tensor:
    """Mean −log probability of the answers' tokens after the prompts; right padding needs no mask."""
    import torch

    whole = [row + answer for row, answer in zip(rows, answers, strict=True)]
    ids = torch.zeros(len(whole), max(map(len, whole)), dtype=torch.int64)
    for place, row in enumerate(whole):
        ids[place, : len(row)] = torch.tensor(row)
    batch = torch.tensor([place for place, answer in enumerate(answers) for _ in answer])
    column = torch.tensor(
        [len(row) - 1 + token for row, answer in zip(rows, answers, strict=True) for token in range(len(answer))]
    )
    wanted = torch.tensor([token for answer in answers for token in answer])
    columns, place = column.unique(return_inverse=True)
    device = next(model.parameters()).device
    logits = model(input_ids=ids.to(device), use_cache=False, logits_to_keep=columns.to(device)).logits
    return torch.nn.functional.cross_entropy(logits[batch, place].float(), wanted.to(device))


RECIPE = Recipe(
    name="context-knob-adapter",
    makes="an adapter (LoRA) with which a model answers from its context or from its prior, as the prompt asks",
    Config=AdapterConfig,
    train=train,
    presets={"smoke": {"steps": 2, "pairs": 1, "rank": 2, "every": 1}},
    needs_model=True,
    resumable=True,
)
