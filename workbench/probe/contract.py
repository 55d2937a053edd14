"""What a probe is: a question with a method, a Config, a plan, a run, figures and a summary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from ..records.record import Check, DataUse, Headline, Record
from .beside import WORDS, beside

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    import xarray as xr

    from ..figures import Figure
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
    """A question about a model and the method that answers it; one instance serves any number of runs.

    A whole one, small enough for a notebook cell; `@wb.PROBES.add` above it would give it a name everywhere:

    >>> import numpy as np, torch, xarray as xr
    >>> from workbench.figures import Axis, Figure, Panel, Scatter
    >>> class Noise(wb.Probe):
    ...     name = "noise"
    ...     question = "How surprising are random tokens?"
    ...     method = "mean negative log-probability of each token after the first"
    ...     presets = {"smoke": {"n": 2}, "quick": {}, "full": {"n": 64}}
    ...
    ...     class Config(wb.Config):
    ...         n: int = 8
    ...         length: int = 16
    ...
    ...     def work(self, session, config):
    ...         return [wb.Work(config.n, 1, config.length)]
    ...
    ...     def run(self, session, config, context):
    ...         def surprise():
    ...             ids = context.rng("prompts").integers(2, session.shape.vocabulary, (config.n, config.length))
    ...             said = session.logits(ids.tolist()).log_softmax(-1)[:, :-1]
    ...             nats = -said.gather(2, torch.as_tensor(ids)[:, 1:, None]).mean((1, 2)).double()
    ...             about = {"units": "nats", "description": "mean surprise of a prompt"}
    ...             return xr.Dataset({"surprise": ("example", nats, about)}, {"example": np.arange(config.n)})
    ...         found = context.stage("prompts", surprise)
    ...         mean, spread = float(found.surprise.mean()), float(1.96 * found.surprise.std() / config.n**0.5)
    ...         line = wb.Headline(
    ...             name="surprise", value=mean, low=mean - spread, high=mean + spread, n=config.n, unit="nats",
    ...             split="all prompts", method="mean, normal interval",
    ...         )
    ...         return wb.Outcome(xr.DataTree(found), [line])
    ...
    ...     def figures(self, data, record):
    ...         points = Scatter(data.example.values, data.surprise.values)
    ...         panel = Panel([points], Axis("prompt"), Axis("surprise (nats)"))
    ...         return [Figure("prompts", "Surprise of each prompt", [panel], "One point a prompt.", "Points.")]
    ...
    ...     def summary(self, data, record):
    ...         return [f"A random token is a surprise of {record.headline[0].value:.0f} nats."]
    >>> run = wb.run(Noise(), session, preset="smoke", progress=False)
    >>> run.summary
    ['A random token is a surprise of 10 nats.']
    """

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

    def figures(self, data: xr.DataTree, record: Record) -> Sequence[Figure]:
        """The pictures of a result, the most telling first: `draw(data)` of the module `figures` beside the class."""
        return self._beside("figures")(data)

    def summary(self, data: xr.DataTree, record: Record) -> Sequence[str]:
        """What was found, in sentences a person would say: `sentences(data, record)` of the module `summary`."""
        return self._beside("summary")(data, record)

    def coordinates(self, data: xr.DataTree, record: Record) -> Sequence[SelectableDim]:
        """What a reader can choose in a finished run to see more of it: `coordinates(data)` of the module `details`.

        Nothing where there is no such module.
        """
        found = beside(type(self), "coordinates")
        return () if found is None else found(data)

    def details(self, data: xr.DataTree, record: Record, chosen: Mapping[str, int]) -> Details:
        """What is shown of a choice: `details(data, chosen)` of the module `details`; from saved data, without a model.

        `chosen` has a value for each of `coordinates`.
        """
        from .explore import Details

        found = beside(type(self), "details")
        return Details() if found is None else found(data, chosen)

    def live(self) -> Live | None:
        """What a reader can turn while a model answers: `live()` of the module `live_view`; None without one."""
        found = beside(type(self), "live")
        return None if found is None else found()

    def _beside(self, method: str) -> Callable[..., Any]:
        found = beside(type(self), method)
        if found is None:
            module, function = WORDS[method]
            raise NotImplementedError(
                f"the probe {self.name!r} has no method {method!r}, and no {module}.{function} lies beside it"
            )
        return found


@dataclass(frozen=True)
class Recipe:
    """How something in `data/` was made, so that it can be made again: an organism, an adapter, a direction."""

    name: str
    makes: str
    Config: type[Config]
    train: Callable[..., Any]
    """Called with `(config, folder, seed, progress)`, and `session=` too if it needs a model; writes the artefact into
    the folder. What it returns, such as the losses of a training, is kept as `results` of the record, as JSON."""
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    needs_model: bool = False
    resumable: bool = False
    """Whether `train` goes on from what it finds in the folder."""
