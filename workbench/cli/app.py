"""The commands together, and how every failure becomes one line and an exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from .. import tracebacks
from ..errors import WorkbenchError
from ..formatting import one_line
from ..version import __version__
from . import doctor, listing, models, pages, records, running, training

app = typer.Typer(
    name="workbench",
    help="See how a language model uses its context.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(models.app)
app.command("probes")(listing.probes)
app.command("plan")(running.plan)
app.command("run")(running.run)
app.command("suite")(running.suite)
app.command("train")(training.train)
app.command("runs")(records.runs)
app.command("show")(records.show)
app.command("compare")(records.compare)
app.command("note")(records.note)
app.command("verify")(records.verify)
app.command("rerun")(running.rerun)
app.command("report")(pages.report)
app.command("serve")(pages.serve)
app.command("doctor")(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        print(f"workbench {__version__}")
        raise Exit(0)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version)] = False,
) -> None:
    """See how a language model uses its context."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong use."""
    command = typer.main.get_command(app)
    try:
        with _stoppable(), warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            status = command.main(
                args=None if arguments is None else list(arguments), prog_name="workbench", standalone_mode=False
            )
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except Exit as leaving:
        return leaving.exit_code
    except TyperException as error:
        return _say(_usage(error), error.exit_code)
    except WorkbenchError as error:
        if os.environ.get("WORKBENCH_TRACEBACK") and tracebacks.unexpected(error):
            raise
        return _say(str(error), error.exit_status)
    except (KeyboardInterrupt, Abort):
        return _say("stopped", 1)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if os.environ.get("WORKBENCH_TRACEBACK"):
            raise
        return _say(f"{type(error).__name__}: {error} (WORKBENCH_TRACEBACK=1 shows where)", 1)


def _say(message: str, status: int) -> int:
    print(f"workbench: {one_line(message)}", file=sys.stderr)
    return status


def _usage(error: TyperException) -> str:
    """What the parser says, and where to read more."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is None:
        return message
    if message.startswith("No such command") and "Did you mean" not in message:
        message += f" There is: {', '.join(context.command.list_commands(context))}."
    return f"{message.rstrip('.')}; see `{context.command_path} --help`"


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let the signals that ask a program to end be heard like Ctrl-C, so that a run is recorded as cancelled."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {}
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
        # Only the main thread may set handlers; a command called from another one goes without.
        with contextlib.suppress(ValueError):
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
