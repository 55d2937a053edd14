"""Settings of the probe of in-context regression."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from workbench.probe.contract import Config

from .prompts import Shift

ControlLearner = Literal["icl-control", "none"]


class IclRegressionConfig(Config):
    """Which prompts, which algorithms a learner is compared with, and where its quantities are looked for."""

    n: int = Field(512, ge=8, description="test prompts, on which every number is measured")
    n_validation: int = Field(
        256, ge=8, description="prompts on which the nearest algorithm, λ, α and layers are chosen"
    )
    length: int | None = Field(
        None,
        ge=3,
        description="pairs of a prompt, the last one asked for; null takes as many as the learner was trained on",
    )
    dimensions: int | None = Field(None, ge=1, description="dimensions of x; null takes the learner's own")
    noise: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="σ, deviation of the labels' noise; null takes the learner's own"
    )
    spread: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="τ, deviation of each task's weights; null takes the learner's own"
    )
    penalties: tuple[float, ...] = Field((0.1, 0.5), description="λ of the ridges; the first one is that of mspd_ridge")
    rates: tuple[float, ...] = Field((0.01, 0.02), description="α of gradient descent and of one-pass SGD")
    steps: tuple[int, ...] = Field((2, 3), description="further numbers of gradient steps")
    contexts: int = Field(64, ge=2, description="prompts whose implied weights are fitted")
    queries: int = Field(64, ge=8, description="queries of one prompt, from which its implied weights are fitted")
    shifts: tuple[Shift, ...] = Field(
        ("scaled", "skewed", "half_subspace", "repeated_query", "orthogonal_query"),
        description="other distributions of inputs and queries",
    )
    control_learner: ControlLearner = Field(
        "icl-control", description="a learner trained with one weight vector for all prompts, probed beside; or none"
    )
    beside: Literal["shipped", "none"] = Field(
        "shipped",
        description="whether the shipped learners of the same task are shown beside, for the phases over depth",
    )
    n_probe: int = Field(
        2000, ge=40, description="prompts that position probes are trained and scored on; 0.6 to train"
    )
    prefixes: tuple[int, ...] | None = Field((2, 4, 8), description="pairs before a probe looks; null takes all")
    hidden: int = Field(64, ge=1, description="width of two-layer probes")
    probe_steps: int = Field(300, ge=1, description="optimiser steps of position probes")
    patched: int = Field(128, ge=4, description="pairs of prompts between which encoded quantities are exchanged")
    random_subspaces: int = Field(5, ge=2, description="random subspaces that an exchange is compared with")

    @model_validator(mode="after")
    def _consistent(self) -> IclRegressionConfig:
        if not self.penalties or not self.rates:
            raise ValueError("penalties and rates need one value each at least")
        if any(not 0 < each < math.inf for each in (*self.penalties, *self.rates)):
            raise ValueError("penalties and rates are finite and above 0")
        if any(each < 1 for each in self.steps):
            raise ValueError("steps are from 1 on")
        if self.prefixes is not None and (not self.prefixes or any(each < 1 for each in self.prefixes)):
            raise ValueError("prefixes are from 1 on; give some, or null for all")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "n": 32, "n_validation": 32, "contexts": 4, "queries": 16, "n_probe": 120, "prefixes": (2, 4), "hidden": 8,
        "probe_steps": 5, "patched": 8, "random_subspaces": 2, "shifts": ("scaled",), "beside": "none",
    },
    "quick": {},
    "full": {
        "n": 4000, "n_validation": 2000, "contexts": 256, "n_probe": 12000, "prefixes": None, "hidden": 512,
        "probe_steps": 700, "patched": 1000, "random_subspaces": 20,
    },
}  # fmt: skip
