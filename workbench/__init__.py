"""See how a language model uses its context: load a model, read its internals, run a probe, keep the result."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import Cancelled, UnknownName, UsageError, WorkbenchError
from .internals.sites import Site

if TYPE_CHECKING:
    from . import models
    from .internals import edits
    from .internals.session import Session, load
    from .notebook.probe_form import explore
    from .probe.contract import Config, Headline, Outcome, Paper, Probe, Work
    from .probe.registry import PROBES, RECIPES
    from .runs.api import open_run as open
    from .runs.api import run
    from .runs.run import Run

__all__ = [
    "load",
    "run",
    "open",
    "explore",
    "Run",
    "Session",
    "Site",
    "edits",
    "models",
    # for those who write a probe
    "Config",
    "Headline",
    "Outcome",
    "Paper",
    "Probe",
    "Work",
    "PROBES",
    "RECIPES",
    # errors
    "WorkbenchError",
    "UsageError",
    "UnknownName",
    "Cancelled",
]

__version__ = "0.1.0"

_LATER = {
    "edits": "edits:",
    "models": "models:",
    "load": "session:load",
    "Session": "session:Session",
    "run": "api:run",
    "open": "api:open_run",
    "explore": "widgets:explore",
    "Run": "runs:Run",
    **{name: f"probe:{name}" for name in ("Config", "Headline", "Outcome", "Paper", "Probe", "Work")},
    "PROBES": "registry:PROBES",
    "RECIPES": "registry:RECIPES",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LATER[name].partition(":")
    found = importlib.import_module(f".{module}", __name__)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
