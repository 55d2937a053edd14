"""Settings of the probe of head roles."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from workbench.probe.contract import Config
from workbench.texts.haystack import SYNTHETIC
from workbench.texts.needles import BUILT_IN

Ablation = Literal["mean", "resample", "zero"]
Rule = Literal["answer", "paper", "released"]
Mode = Literal["teacher-forced", "generated"]
FRAME = 64
"""Tokens that needle, question and answer need beside the haystack."""


class HeadRolesConfig(Config):
    """Which needles, how long, how scored, and what is ablated."""

    data: str = Field(
        BUILT_IN, description=f"needles: {BUILT_IN!r}, or a file of JSON lines (sentence, question, answer)"
    )
    haystack: str = Field(SYNTHETIC, description=f"text to hide needles in: {SYNTHETIC!r}, or any text file")
    n: int = Field(8, ge=2, description="held-out needles, on which everything is scored")
    n_selection: int = Field(6, ge=2, description="needles on which heads are ranked")
    length: int = Field(256, ge=128, description="tokens of the longest prompt")
    shortest: int | None = Field(
        None, ge=128, description="tokens of the shortest prompt; the longest's if none is given"
    )
    lengths: int = Field(1, ge=1, description="how many lengths, evenly spaced from the longest to the shortest")
    depths: int = Field(5, ge=1, description="how many depths of the needle, evenly spaced from start to end")
    mode: Mode = Field(
        "teacher-forced", description="whose answer the retrieval score follows: the true one or the model's own"
    )
    rule: Rule = Field("answer", description="what the retrieval score counts; all three are reported")
    threshold: float = Field(0.1, gt=0, lt=1, description="retrieval score from which a head is a retrieval head")
    ablation: Ablation = Field("mean", description="what replaces an ablated head's output")
    ablation_length: int = Field(192, ge=128, description="tokens of the prompts on which heads are ablated")
    top: int = Field(8, ge=1, description="heads of the ablated set; at most an eighth of the model's")
    counts: tuple[int, ...] = Field(
        (2, 4, 16), description="further set sizes for the curve; at most a quarter of the heads"
    )
    random_sets: int = Field(20, ge=2, description="random sets of the same size, matched per layer")
    curve_sets: int = Field(1, ge=1, description="random sets at each further size")
    zero_sets: int = Field(0, ge=0, description="random sets that are zeroed too, beside the top set")
    references: int = Field(4, ge=1, description="texts without a needle from which replacements are taken")
    repeats: int = Field(4, ge=1, description="sequences of repeated random tokens")
    near: int = Field(8, ge=2, description="random tokens before a near repeat")
    far: int = Field(64, ge=4, description="random tokens before a far repeat")

    @model_validator(mode="after")
    def _consistent(self) -> HeadRolesConfig:
        if self.shortest is not None and self.shortest > self.length:
            raise ValueError(f"shortest ({self.shortest}) is more than length ({self.length})")
        if self.near >= self.far:
            raise ValueError(f"near ({self.near}) must be less than far ({self.far})")
        if any(count < 1 for count in self.counts):
            raise ValueError("counts are from 1 on")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "n": 3, "n_selection": 2, "length": 128, "ablation_length": 128, "top": 4, "counts": (1,),
        "random_sets": 2, "curve_sets": 1, "references": 1, "repeats": 1, "far": 32,
    },
    "quick": {},
    "full": {
        "n": 120, "n_selection": 60, "length": 4096, "shortest": 512, "lengths": 8, "depths": 10,
        "ablation_length": 512, "counts": (1, 2, 4, 16, 32), "curve_sets": 5, "zero_sets": 20, "references": 16,
        "repeats": 16,
    },
}  # fmt: skip
