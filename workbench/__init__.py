"""See how a language model uses its context: load a model, read its internals, run a probe, keep the result."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import Cancelled, UnknownName, UsageError, WorkbenchError
from .internals.sites import Site
from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import models
    from .internals import edits, streams
    from .internals.affine_maps import AffineMaps
    from .internals.session import Session, load
    from .internals.sweeps import grids, metrics
    from .models.continuous import ContinuousModel
    from .notebook.probe_form import explore
    from .probe.contract import Config, Headline, Outcome, Paper, Probe, Work
    from .probe.registry import PROBES, RECIPES
    from .runs.api import compare, run
    from .runs.api import open_run as open
    from .runs.run import Run

__all__ = [
    "load",
    "run",
    "open",
    "compare",
    "explore",
    "Run",
    "Session",
    "Site",
    "AffineMaps",
    "ContinuousModel",
    "edits",
    "grids",
    "metrics",
    "models",
    "streams",
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

_LATER = {
    "AffineMaps": "internals.affine_maps:AffineMaps",
    "ContinuousModel": "models.continuous:ContinuousModel",
    "edits": "internals.edits:",
    "grids": "internals.sweeps.grids:",
    "metrics": "internals.sweeps.metrics:",
    "streams": "internals.streams:",
    "models": "models:",
    "load": "internals.session:load",
    "Session": "internals.session:Session",
    "run": "runs.api:run",
    "open": "runs.api:open_run",
    "compare": "runs.api:compare",
    "explore": "notebook.probe_form:explore",
    "Run": "runs.run:Run",
    **{name: f"probe.contract:{name}" for name in ("Config", "Headline", "Outcome", "Paper", "Probe", "Work")},
    "PROBES": "probe.registry:PROBES",
    "RECIPES": "probe.registry:RECIPES",
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
