"""Settings of the probe of the context knob."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from workbench.probe.contract import Config
from workbench.texts.facts import BUILT_IN, Contexts, Task

from .task.matching import Matching

ARMS = {"adapter": "with the adapter", "plain": "without an adapter"}
"""The arms of a run, in words."""


class ContextKnobConfig(Config):
    """Which facts are asked, how, and where the direction is looked for."""

    data: str = Field(
        BUILT_IN, description=f"facts: {BUILT_IN!r}, a JSON file in Fakepedia's format, or hub:owner/name/file"
    )
    task: Task = Field("base", description="one step through the context, two (multihop), or arithmetic")
    contexts: Contexts = Field("sentence", description="what contradicts the prior: one sentence, or the paragraph")
    intent: Literal["instruction", "float"] = Field("instruction", description="how a prompt tells the intent")
    matching: Matching = Field("strict", description="when an answer is right; both rules are kept")
    split_by: Literal["subject", "relation"] = Field("subject", description="what the splits do not share")
    begun: bool = Field(True, description="whether the answer begins with the query, so that it is only completed")
    adapter: str = Field("auto", description="'auto' for the shipped one on the default model, 'none', or an adapter")
    knob: str = Field("auto", description="'auto' for the shipped one on the default model, 'learn', or a folder")
    n: int = Field(32, ge=2, description="held-out items, on which everything is scored")
    n_train: int = Field(16, ge=2, description="items from which directions are learnt")
    n_validation: int = Field(12, ge=2, description="items by which block and values are chosen")
    layers: tuple[int, ...] | None = Field(
        None, description="blocks of the sweep; evenly spaced ones if none are given"
    )
    blocks: int = Field(5, ge=1, description="how many blocks, where layers does not name them")
    steps: int = Field(40, ge=1, description="steps in which a direction is learnt")
    batch: int = Field(16, ge=1, description="rows of a step")
    learning_rate: float = Field(0.05, gt=0, description="peak learning rate of Adam")
    stretches: tuple[float, ...] = Field(
        (1.0, 1.5, 2.0, 3.0), description="values tried, as multiples of the natural values' distance from their middle"
    )
    random: int = Field(3, ge=1, description="random directions")
    curve: int = Field(9, ge=3, description="values on the curve of answer probabilities")
    curve_items: int = Field(12, ge=1, description="items of that curve")
    configurations: int = Field(
        0, ge=0, description="items in each further configuration: few-shot, float, paragraphs, tasks; 0 for none"
    )
    shots: int = Field(5, ge=0, description="pairs shown before a few-shot prompt of the further configurations")
    search: bool = Field(False, description="whether the blocks are searched through which answers and intent travel")
    search_items: int = Field(30, ge=2, description="items of the search, and as many held-out ones")
    tau: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="threshold of the search; nine tenths of what every block gives, over ½, if none is given",
    )
    epsilon: float = Field(0.3, ge=0, lt=1, description="margin of the patched answer at the output")
    phi: float = Field(0.05, gt=0, lt=1, description="loss from block to block that counts as overwriting")

    @model_validator(mode="after")
    def _consistent(self) -> ContextKnobConfig:
        if not self.stretches or min(self.stretches) <= 0:
            raise ValueError("stretches are above 0, and there is at least one")
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise ValueError("layers are blocks from 0 on, and there is at least one")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "n": 3, "n_train": 3, "n_validation": 2, "blocks": 2, "steps": 2, "batch": 4, "stretches": (1.5,),
        "random": 1, "curve": 3, "curve_items": 2,
    },
    "quick": {"steps": 30, "stretches": (1.0, 1.5, 2.0), "random": 2},
    "full": {
        "n": 150, "n_train": 60, "n_validation": 40, "blocks": 30, "steps": 60, "random": 10, "knob": "learn",
        "curve": 17, "curve_items": 64, "configurations": 40, "search": True,
    },
}  # fmt: skip
