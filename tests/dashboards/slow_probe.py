"""A probe that does little and takes as long as a test wants, in steps, on any model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import xarray as xr
from pydantic import Field, model_validator

from workbench.figures import Axis, Bars, Figure, Panel
from workbench.internals.session import Session
from workbench.probe.contract import Config, Outcome, Probe, RunContext, Work
from workbench.probe.registry import PROBES
from workbench.records.record import Headline, Record
from workbench.texts.haystack import SYNTHETIC

HOSTILE = '<img src=x onerror="window.hit=1">"\'</script>{{7*7}}'


class SlowConfig(Config):
    """One setting of every kind that a form can draw."""

    data: str = Field(SYNTHETIC, description="a text, or 'synthetic'" + HOSTILE)
    n: int = Field(3, ge=1, le=500, description="steps")
    length: int = Field(16, ge=4, description="tokens of a prompt")
    layers: tuple[int, ...] | None = Field(None, description="layers; nothing takes all")
    pause: float = Field(0.0, ge=0, lt=5, description="seconds of a step")
    order: Literal["up", "down"] = Field("up", description="which way")
    twice: bool = Field(False, description="every step twice")
    note: str = Field("none", description="anything", json_schema_extra={"format": "text"})
    source: str = Field("first", description="a name that is known", examples=["second"])
    fails: bool = Field(False, description="break in the middle")

    @model_validator(mode="after")
    def _consistent(self) -> SlowConfig:
        if self.twice and self.order == "down":
            raise ValueError("down and twice do not go together")
        return self


def answer(session: Session, ids: list[int]) -> float:
    """A number of the model and of every token: the mean size of its residual, and the ids by their places."""
    seen = session.capture([ids], "resid_post.0")["resid_post.0"]
    return float(seen.abs().mean()) + sum(place * id for place, id in enumerate(ids, start=1))


class Slow(Probe[SlowConfig]):
    """Takes its time; answers with a number made of the first tokens of its text."""

    name = "slow"
    question = "How long does it take?" + HOSTILE
    method = "waiting" + HOSTILE
    Config = SlowConfig
    presets: ClassVar = {"smoke": {"n": 2}, "quick": {}, "full": {"n": 100}}

    def work(self, session: Session, config: SlowConfig) -> Sequence[Work]:
        return [Work(passes=config.n, batch=1, length=config.length)]

    def run(self, session: Session, config: SlowConfig, context: RunContext) -> Outcome:
        text = "abc" if config.data == SYNTHETIC else open(config.data, encoding="utf-8").read()  # noqa: SIM115, PTH123
        ids = [(ord(sign) * 7) % session.shape.vocabulary for sign in text[: config.length]]
        value = answer(session, ids)

        def first() -> xr.Dataset:
            attrs = {"units": "1", "description": "tokens that were seen"}
            return xr.Dataset({"seen": ("token", np.arange(len(ids)), attrs)}, coords={"token": np.arange(len(ids))})

        context.stage("first", first)
        for step in context.progress.steps(range(config.n), "slow steps" + HOSTILE):
            if config.fails and step == config.n // 2:
                raise RuntimeError("broken in the middle" + HOSTILE)
            time.sleep(config.pause)
        attrs = {"units": "1", "description": "weighted residual"}
        data = xr.DataTree.from_dict({"/": xr.Dataset({"value": ((), value, attrs)})})
        said = Headline(name="answer", value=value, n=1, unit="1", split="all", method="mean", exact=True)
        return Outcome(data, [said])

    def figures(self, data: xr.DataTree, record: Record) -> Sequence[Figure]:
        bars = Bars([0.0], [float(data["value"])], names=["answer" + HOSTILE])
        panel = Panel([bars], x=Axis("what" + HOSTILE), y=Axis("answer" + HOSTILE))
        return [
            Figure("answer", "The answer" + HOSTILE, [panel], caption="One bar." + HOSTILE, alt="One bar." + HOSTILE)
        ]

    def summary(self, data: xr.DataTree, record: Record) -> Sequence[str]:
        return [f"The answer is {float(data['value']):.6f}." + HOSTILE]


def register() -> None:
    """Make the probe known by name."""
    PROBES.add(Slow)


def forget() -> None:
    """Leave no trace of it for other tests."""
    PROBES._known.pop("slow", None)
