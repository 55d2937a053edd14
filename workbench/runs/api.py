"""The two functions of a notebook: run a probe, and open what was run."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from .. import progress_bars
from ..errors import UsageError
from ..progress import Listener, Reporter
from ..records import store
from .run import Run

if TYPE_CHECKING:
    from ..internals.session import Session
    from ..probe.contract import Probe


def open_run(path: str | os.PathLike[str], runs: str | os.PathLike[str] = "runs") -> Run:
    """Open a run given as a path, an id, or the unique beginning of an id under `runs`."""
    return Run(store.find(path, runs))


def run(
    probe: str | Probe,
    session: Session | str,
    preset: str = "quick",
    seed: int = 0,
    runs: str | os.PathLike[str] = "runs",
    progress: Listener | Reporter | bool | None = None,
    resume: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    memory: int | None = None,
    **settings: Any,
) -> Run:
    """Run a probe on a session, or on a model by name, and return the finished run.

    `progress` is a listener of progress events; by default bars are drawn on a terminal or in a notebook, and `False`
    draws nothing. `engine` is for a model given by name. `memory` is the budget in bytes.
    Raises `UnknownName` and `UsageError` for wrong names and values, and whatever the probe raised, after recording it.
    """
    from .execute import execute, prepare

    if isinstance(session, str):
        from ..internals.session import load

        session = load(session, engine=engine or "hf")
    elif engine is not None and engine != session.info.engine:
        raise UsageError(f"the session uses the engine {session.info.engine!r}; load it with engine={engine!r}")
    prepared = prepare(probe, session, preset, seed, settings, memory)
    if progress is None or progress is True:
        drawing: AbstractContextManager[Listener | Reporter | None] = progress_bars.notebook_or_tty_progress()
    else:
        drawing = nullcontext(progress or None)
    with drawing as listener:
        return Run(execute(prepared, runs, listener, resume))
