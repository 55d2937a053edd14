"""The functions of a notebook: run a probe, open what was run, compare."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from .. import progress_bars
from ..errors import UsageError
from ..progress import Listener, Reporter
from ..records import comparison, store
from ..records.comparison import Comparison
from .run import Run

if TYPE_CHECKING:
    from ..internals.session import Session
    from ..probe.contract import Probe


def open_run(path: str | os.PathLike[str], runs: str | os.PathLike[str] = "runs") -> Run:
    """Open a run given as a path, an id, or the unique beginning of an id under `runs`."""
    return Run(store.find(path, runs))


def compare(*several: Run | str | os.PathLike[str], runs: str | os.PathLike[str] = "runs") -> Comparison:
    """What differs between two or more runs, given as such, or as `open` takes them; see `comparison.compare`.

    Raises `UsageError` for fewer than two.
    """
    opened = [one if isinstance(one, Run) else open_run(one, runs) for one in several]
    return comparison.compare([one.typed_record for one in opened])


def run(
    probe: str | Probe | None = None,
    session: Session | str | None = None,
    preset: str | None = None,
    seed: int | None = None,
    runs: str | os.PathLike[str] = "runs",
    progress: Listener | Reporter | bool | None = None,
    resume: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    memory: int | None = None,
    **settings: Any,
) -> Run:
    """Run a probe on a session, or on a model by name, and return the finished run.

    `progress` is a listener of progress events; by default bars are drawn on a terminal or in a notebook, and `False`
    draws nothing. `engine` is for a model given by name. `memory` is the budget in bytes. The preset is `quick` and the
    seed 0 unless told otherwise. `resume` names a run that stopped, to go on with it: what is not said again, its probe
    and its model too, is as it was.
    Raises `UnknownName` and `UsageError` for wrong names and values, and whatever the probe raised, after recording it.

    >>> run = wb.run("head-roles", session, preset="smoke", progress=False)
    >>> run.status, run.headline["needle_recall"].value
    ('success', 1.0)
    >>> wb.open(run.folder).id == run.id                  # the same run, later
    True
    >>> run.details(layer=2, head=1).note.partition(" has ")[0]
    'Head 2.1'
    >>> run.report("report.md").name
    'report.md'
    """
    from .execute import execute
    from .prepare import prepare
    from .rerun import load_again
    from .resume import Request, request_of

    asked = Request(preset or "quick", seed or 0, settings, None)
    if resume is not None:
        stopped = store.read(store.find(resume, runs))
        asked = request_of(stopped).again(preset, seed, settings)
        probe = stopped.probe if probe is None else probe
        session = load_again(stopped.model) if session is None else session
    if probe is None or session is None:
        raise UsageError("name a probe and a session or a model, or with resume a run that stopped")
    if isinstance(session, str):
        from ..internals.session import load

        session = load(session, engine=engine or "hf")
    elif engine is not None and engine != session.info.engine:
        raise UsageError(f"the session uses the engine {session.info.engine!r}; load it with engine={engine!r}")
    prepared = prepare(probe, session, asked.preset, asked.seed, asked.given, memory, asked.resolved)
    if progress is None or progress is True:
        drawing: AbstractContextManager[Listener | Reporter | None] = progress_bars.notebook_or_tty_progress()
    else:
        drawing = nullcontext(progress or None)
    with drawing as listener:
        return Run(execute(prepared, runs, listener, resume))
