"""The record of a run: what was asked, what was resolved, on what, and what came out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from . import describe

SCHEMA = 1
Status = Literal["started", "success", "cancelled", "error", "interrupted"]


class RecordModel(BaseModel):
    """A part of a record; fields that a later version wrote are kept."""

    model_config = ConfigDict(extra="allow", validate_assignment=True)


class AdapterInfo(RecordModel):
    """An adapter that takes part in the model's forward."""

    id: str
    sha256: str
    """Over its two files; over its tensors and scales where it is not as it was in a folder."""
    merged: list[str] = Field(default_factory=list)
    """The names of those that are merged into the weights."""


class ModelInfo(RecordModel):
    """The model as it was loaded."""

    id: str
    revision: str | None = None
    fingerprint: str | None = None
    """sha256 over names, shapes, types and bytes of the weights as loaded, the same on every machine."""
    config_sha256: str | None = None
    tokenizer_sha256: str | None = None
    state_sha256: str | None = None
    """sha256 over what else decides the output: modules, numbers and switches on them, buffers that are not stored.

    Another version of the libraries may give another one; with code of the user's on the model it is unlike any other.
    """
    state: list[str] = Field(default_factory=list)
    """What stood on the model beside what its weights and its configuration say, such as a hook of its user's."""
    ends: list[int] | None = None
    """The token ids that end a text or a turn."""
    dtype: str | None = None
    quantisation: str | None = None
    """How the weights were quantised before they were loaded, in words."""
    about: str | None = None
    """What a model known by name is, in words: among others whether it is a base model."""
    licence: str | None = None
    """Under what a model known by name may be used."""
    device: str | None = None
    device_map: str | None = None
    """How the layers were told to spread over devices."""
    trust_remote_code: bool = False
    """Whether code of the model's repository was allowed to run."""
    engine: str | None = None
    attention: str | None = None
    adapter: AdapterInfo | None = None


class Spec(RecordModel):
    """What was asked: settings as given and as resolved from the preset and the defaults."""

    given: dict[str, Any] = Field(default_factory=dict)
    resolved: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    clock: str | None = None
    """The time that the tokenizer's chat template was told, where it asks for one; in the time zone of the machine."""


class DataUse(RecordModel):
    """One source of examples: how many were used, and why the others were not."""

    name: str
    sha256: str
    n_used: int
    n_dropped: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)


class GitInfo(RecordModel):
    """The checkout that the code ran from; nothing for an installed package."""

    commit: str | None = None
    dirty: bool | None = None


class Environment(RecordModel):
    """What a run ran on."""

    python: str
    platform: str
    packages: dict[str, str] = Field(default_factory=dict)
    cpus: int | None = None
    threads: int | None = None
    """Threads that torch computes with."""
    gpu: str | None = None
    git: GitInfo = Field(default_factory=GitInfo)


class Plan(RecordModel):
    """What a run will take, known before it starts."""

    passes: int = 0
    bytes: int = 0
    """Weights, activations and logits together, at their peak."""
    seconds: float = 0.0
    budget: int = 0
    """Bytes that the run may take."""
    work: list[dict[str, Any]] = Field(default_factory=list)
    calibration: dict[str, float] = Field(default_factory=dict)
    outputs: list[str] = Field(default_factory=list)


class Control(RecordModel):
    """What a headline is read against."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str | None = None
    """None: the headline's. With another, the two are not compared."""


EARLIER_NAMES = {"copy_head_share": "retrieval_head_share"}
"""What headlines were called by earlier versions, so that their records stay comparable."""


class Headline(RecordModel):
    """A number a person would quote, with its uncertainty and its control."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float | None = 0.95
    n: int
    unit: str
    split: str
    """Which part of the data it was scored on; never the part that selected."""
    method: str
    """How the value and the interval were computed."""
    exact: bool = False
    """Counted, not estimated; there is no interval then."""
    control: Control | None = None

    @field_validator("name")
    @classmethod
    def _by_its_present_name(cls, name: str) -> str:
        return EARLIER_NAMES.get(name, name)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return describe.headline(self)


class Check(RecordModel):
    """Something that was verified during the run."""

    name: str
    passed: bool
    detail: str = ""


class Stats(RecordModel):
    """What a run cost."""

    seconds: float = 0.0
    """Wall-clock time, earlier attempts of a resumed run included."""
    peak_bytes: int = 0
    """The most memory that the process held while the run lasted, weights and libraries included."""


class ErrorInfo(RecordModel):
    """Why a run ended before its end."""

    kind: str
    message: str
    traceback: str = ""


class Record(RecordModel):
    """Everything about one run but its arrays; `workbench show RUN --json` prints it."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    id: str
    status: Status = "started"
    probe: str
    question: str = ""
    method: str = ""
    preset: str = "quick"
    created: str
    started: str
    finished: str | None = None
    model: ModelInfo
    spec: Spec = Field(default_factory=Spec)
    data: list[DataUse] = Field(default_factory=list)
    environment: Environment
    plan: Plan = Field(default_factory=Plan)
    headline: list[Headline] = Field(default_factory=list)
    summary: list[str] = Field(default_factory=list)
    """What was found, in sentences."""
    figures: list[str] = Field(default_factory=list)
    """Names of the figures, the most telling first."""
    checks: list[Check] = Field(default_factory=list)
    limits: list[str] = Field(default_factory=list)
    stats: Stats = Field(default_factory=Stats)
    files: dict[str, str] = Field(default_factory=dict)
    error: ErrorInfo | None = None
    resumed: list[str] = Field(default_factory=list)
    """When the run was taken up again after it had stopped."""
    record_sha256: str | None = None
    """sha256 of all the rest of the record, written with it."""

    model_config = ConfigDict(extra="allow", validate_assignment=True, populate_by_name=True, serialize_by_alias=True)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return describe.record(self)
