"""The recipe of the direction: the sweep of the probe and the choice of block and values, without the scores."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.probe.contract import Recipe
from workbench.probe.run_context import StagedRunContext
from workbench.progress import Reporter
from workbench.records import store

from ..config import PRESETS, ContextKnobConfig
from ..stages import learn_knob

if TYPE_CHECKING:
    from workbench.internals.session import Session


def train(config: ContextKnobConfig, folder: Path, seed: int, progress: Reporter, session: Session) -> None:
    """Learn the direction on the train split, choose block and values on the validation split, and write the knob.

    The values in `knob.json` are those for the model without its adapter. Items of the test split are never asked.
    """
    info = session.info
    parts = [config.model_dump_json(), str(seed), str(info.fingerprint), str(info.adapter)]
    learnt = learn_knob(
        session, config, StagedRunContext(seed, progress, folder, hashlib.sha256("\n".join(parts).encode()).hexdigest())
    )
    learnt.found.save(folder, "plain", info.id)
    pairs = learnt.swept["right"].values.all(2).mean(-1).round(4).tolist()
    used = {
        "adapter": learnt.adapter,
        "train": sorted({item.subject for item in learnt.items["train"]}),
        "validation": sorted({item.subject for item in learnt.items["validation"]}),
        "validation_pair_accuracy": dict(zip(map(str, learnt.swept["layer"].values), pairs, strict=True)),
        "stretches": list(config.stretches),
    }
    (folder / "chosen_on.json").write_text(json.dumps(used, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    store.remove_stages(folder)


RECIPE = Recipe(
    name="context-knob-direction",
    makes="the direction that decides between context and prior, with its block and its values",
    Config=ContextKnobConfig,
    train=train,
    presets={name: {**settings, "knob": "learn"} for name, settings in PRESETS.items()},
    needs_model=True,
    resumable=True,
)
