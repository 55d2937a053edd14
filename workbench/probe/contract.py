"""What a probe is: a question with a method, a Config, a plan, a run, figures and a summary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from ..records.record import Check, DataUse, Headline, Record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    import xarray as xr

    from ..figures.figure import Figure
    from ..internals.session import Session
    from ..progress import Reporter
    from .explore import Details, SelectableDim
    from .live_view import Live


class Config(BaseModel):
    """Settings of a probe; unknown names and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    arxiv: str


@dataclass(frozen=True)
class Work:
    """A number of equal passes through the model: the unit in which a probe tells what it will do."""

    passes: int
    batch: int
    length: int
    """Tokens of each sequence that go in at once."""
    generated: int = 0
    """Tokens generated one at a time after them."""
    logits: int | None = None
    """Positions of each sequence whose logits are computed; None for all, 0 where only sites are read."""
    layers: float = 1.0
    """Share of the blocks that run; below 1 for a pass that stops early."""
    backward: bool = False
    statistics: bool = False
    """Whether attention is computed with its statistics, columns included."""


@dataclass
class Outcome:
    """What a run found: data that follows the schema of results, headlines, checks, limits and sources."""

    data: xr.DataTree
    headlines: Sequence[Headline]
    checks: Sequence[Check] = ()
    limits: Sequence[str] = ()
    sources: Sequence[DataUse] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Kept as `tables/<name>.csv`."""
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Kept in `tensors.safetensors`: directions, weights of a classifier."""


class RunContext(Protocol):
    """What a running probe is handed beside the session: seeds, progress, and stages that survive an interruption."""

    seed: int
    progress: Reporter

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator seeded by the run's seed and by what it is for, so that adding one changes no other."""
        ...

    def stage(self, name: str, compute: Callable[[], xr.Dataset]) -> xr.Dataset:
        """Compute a part of the run, or read it back if an interrupted run had finished it."""
        ...


class Probe(ABC, Generic[C]):
    """A question about a model and the method that answers it; one instance serves any number of runs."""

    name: ClassVar[str]
    question: ClassVar[str]
    method: ClassVar[str]
    papers: ClassVar[Sequence[Paper]] = ()
    Config: ClassVar[type[Config]]
    presets: ClassVar[dict[str, dict[str, Any]]]
    """Settings of `smoke`, `quick` and `full`."""

    def unsuitable(self, session: Session) -> str | None:
        """Why this probe cannot run on this model, or None if it can."""
        return None

    @abstractmethod
    def work(self, session: Session, config: C) -> Sequence[Work]:
        """The passes that a run with these settings will take."""

    @abstractmethod
    def run(self, session: Session, config: C, context: RunContext) -> Outcome:
        """Answer the question."""

    @abstractmethod
    def figures(self, data: xr.DataTree, record: Record) -> Sequence[Figure]:
        """The pictures of a result, the most telling first."""

    @abstractmethod
    def summary(self, data: xr.DataTree, record: Record) -> Sequence[str]:
        """What was found, in sentences a person would say."""

    def coordinates(self, data: xr.DataTree, record: Record) -> Sequence[SelectableDim]:
        """What a reader can choose in a finished run to see more of it; nothing, unless the probe says so."""
        return ()

    def details(self, data: xr.DataTree, record: Record, chosen: Mapping[str, int]) -> Details:
        """What is shown of a choice, which has a value for each of `coordinates`; from saved data, without a model."""
        from .explore import Details

        return Details()

    def live(self) -> Live | None:
        """What a reader can turn while a model answers; nothing, unless the probe says so."""
        return None


@dataclass(frozen=True)
class Recipe:
    """How something in `data/` was made, so that it can be made again: an organism, an adapter, a direction."""

    name: str
    makes: str
    Config: type[Config]
    train: Callable[..., Any]
    """Called with `(config, folder, seed, progress)`, and `session=` too if it needs a model; writes the artefact into
    the folder."""
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    needs_model: bool = False
    resumable: bool = False
    """Whether `train` goes on from what it finds in the folder."""
