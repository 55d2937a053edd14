"""Settings of the probe of layer contrast."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from workbench.probe.contract import Config
from workbench.texts.facts import BUILT_IN

from .method.methods import Divergence

NONE = "none"


class LayerContrastConfig(Config):
    """Which questions, which contrasts, and among which of their parameters is chosen."""

    data: str = Field(BUILT_IN, description=f"questions: {BUILT_IN!r}, or a CSV file in TruthfulQA's format")
    conflicts: str = Field(
        BUILT_IN, description=f"questions with a context: {BUILT_IN!r}, or JSON lines as of context-aware decoding"
    )
    factor: str = Field(NONE, description="'none', or a CSV file in FACTOR's format, scored too")
    n: int = Field(16, ge=2, description="questions of the test split, on which everything is scored")
    n_validation: int = Field(8, ge=2, description="questions by which parameters are chosen")
    n_conflicts: int = Field(10, ge=2, description="questions with a context, of the test split")
    n_conflicts_validation: int = Field(5, ge=2, description="those by which α is chosen")
    amateur: str = Field(
        "auto",
        description="'auto' for the shipped one or a prompt, 'prompt', an adapter, or 'model:' and a model's name",
    )
    heads: str = Field(
        "auto",
        description="heads of DeCoRe: 'auto' finds those that look at the context's answer, 'none', or a run of "
        "head-roles or a CSV table with layer, head and copy_score",
    )
    n_heads: int = Field(8, ge=1, description="how many heads DeCoRe makes uniform; at most an eighth of the model's")
    layers: tuple[int, ...] | None = Field(
        None,
        description="hidden states that a single lower layer is chosen among; a few evenly spaced if none are given",
    )
    lens: Literal["raw", "norm"] = Field("raw", description="how lower layers come to the unembedding in DoLa and SLED")
    divergence: Divergence = Field("as_released", description="by which DoLa takes a layer")
    plausibility: float = Field(
        0.0, ge=0, le=1, description="α of the plausibility mask when answers are scored; 0 for none"
    )
    alphas: tuple[float, ...] = Field((0.5, 1.0), description="values of α that context-aware decoding chooses among")
    omegas: tuple[float, ...] = Field((0.0, 0.3, 1.0), description="weights of the lower layers in LOL-style fusion")
    gammas: tuple[float, ...] = Field((0.0, 0.5), description="weights of the instruction in LOL-style fusion")
    rates: tuple[float, ...] = Field((2.0, 0.5), description="evolution rates of SLED")
    tokens: int = Field(6, ge=1, description="tokens of a generated answer")
    repetition_penalty: float = Field(1.0, gt=0, description="on tokens of the prompt and of the answer so far")
    penalised: Literal["mixed", "model"] = Field(
        "mixed", description="whether it acts on mixed scores or on the model's"
    )
    damage: int = Field(1, ge=1, description="unrelated texts on which each method's KL from the model is measured")

    @model_validator(mode="after")
    def _consistent(self) -> LayerContrastConfig:
        if not self.alphas or not all(0 <= alpha <= 10 for alpha in self.alphas):
            raise ValueError("alphas are from 0 to 10, and there is at least one")
        if not self.rates or not all(0 < rate <= 100 for rate in self.rates):
            raise ValueError("rates are above 0 and at most 100, and there is at least one")
        if not self.omegas or not self.gammas or not all(-10 <= each <= 10 for each in (*self.omegas, *self.gammas)):
            raise ValueError("omegas and gammas are from -10 to 10, and there is at least one of each")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "n": 3, "n_validation": 2, "n_conflicts": 3, "n_conflicts_validation": 2, "n_heads": 2, "alphas": (1.0,),
        "omegas": (0.3,), "gammas": (0.5,), "rates": (2.0,), "tokens": 3, "damage": 1,
    },
    "quick": {},
    "full": {
        "n": 300, "n_validation": 100, "n_conflicts": 200, "n_conflicts_validation": 60, "n_heads": 30,
        "alphas": (0.15, 0.25, 0.5, 0.75, 1.0, 1.5), "omegas": (0.0, 0.1, 0.3, 0.5, 1.0),
        "gammas": (0.0, 0.25, 0.5, 1.0),
        "rates": (2.0, 1.0, 0.5), "tokens": 10, "damage": 12,
    },
}  # fmt: skip
