"""Progress events as a person sees them: bars on a terminal or in a notebook, sparse lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .formatting import duration, strip_control
from .progress import Listener, Progress

QUIET = 4.0
"""Least seconds between two lines where there is no terminal."""
OFTEN = 0.2
"""Least seconds between two states of a line in a notebook."""
WIDTH = 24
"""Signs of the bar in a notebook."""


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and shell.has_trait("kernel")


@contextmanager
def notebook_or_tty_progress() -> Iterator[Listener | None]:
    """A listener that draws while the block lasts: on a terminal or in a notebook, and nothing in any other script."""
    if _in_notebook():
        with one_line_in_place() as listener:
            yield listener
    elif sys.stderr.isatty():
        with bars() as listener:
            yield listener
    else:
        yield None


@contextmanager
def one_line_in_place() -> Iterator[Listener]:
    """A line below the cell that is written over as the work goes on, and gone once the block ends."""
    write, remove = updating()
    last = ("", 0.0)

    def listen(event: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if event.stage == last[0] and event.done < event.total and now - last[1] < OFTEN:
            return
        last = (event.stage, now)
        left = f", {duration(event.eta)} left" if event.eta else ""
        filled = round(WIDTH * event.done / max(1, event.total))
        write(
            f"{'█' * filled}{'░' * (WIDTH - filled)} {strip_control(event.stage)}: {event.done} of {event.total}{left}"
        )

    try:
        yield listen
    finally:
        remove()


@contextmanager
def cli_progress() -> Iterator[Listener]:
    """A listener for the command line: bars on a terminal, else a line every few seconds."""
    if sys.stderr.isatty():
        with bars() as listener:
            yield listener
    else:
        yield Lines()


class Lines:
    """Writes a line for a new stage and then at most every few seconds."""

    def __init__(self) -> None:
        self._stage = ""
        self._last = 0.0

    def __call__(self, event: Progress) -> None:
        now = time.monotonic()
        soon = now - self._last < (QUIET if event.stage == self._stage else QUIET / 4)
        if soon:
            return
        self._stage, self._last = event.stage, now
        left = f", {duration(event.eta)} left" if event.eta else ""
        print(f"{strip_control(event.stage)}: {event.done}/{event.total}{left}", file=sys.stderr, flush=True)


@contextmanager
def bars() -> Iterator[Listener]:
    """One bar a stage, gone once the block ends."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Bars(*columns, console=console, transient=True) as live:
        tasks: dict[str, TaskID] = {}

        def listen(event: Progress) -> None:
            left = f"{duration(event.eta)} left" if event.eta else ""
            if event.stage not in tasks:
                for other in tasks.values():
                    live.update(other, visible=False)
                tasks[event.stage] = live.add_task(escape(strip_control(event.stage)), total=event.total, left=left)
            task = tasks[event.stage]
            live.update(task, completed=event.done, total=event.total, left=left, visible=True)

        yield listen


def updating() -> tuple[Callable[[str], None], Callable[[], None]]:
    """A line of text in a notebook that is written over in place, and how to take it away."""
    from IPython.display import display

    handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(text: str) -> None:
        handle.update({"text/plain": text}, raw=True)

    return write, lambda: write("")
