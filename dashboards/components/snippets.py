"""The same run from the command line and from Python, to copy."""

from __future__ import annotations

from typing import Any

from ...reports.commands import rerun_command
from ..server.run_request import RunRequest


def cli_command(asked: RunRequest) -> str:
    """The command line that asks for the same."""
    if asked.resume is not None:
        return f"workbench run --resume {asked.resume}"
    record: dict[str, Any] = {
        "probe": asked.probe,
        "preset": asked.preset,
        "model": {"id": asked.model, "adapter": {"id": asked.adapter} if asked.adapter else None},
        "spec": {"given": dict(asked.given), "seed": asked.seed},
    }
    return rerun_command(record)


def python_snippet(asked: RunRequest) -> str:
    """Python that asks for the same."""
    if asked.resume is not None:
        return f"import workbench as wb\n\nrun = wb.run(resume={asked.resume!r})\nprint(run.summary)"
    adapter = f", adapter={asked.adapter!r}" if asked.adapter else ""
    words = [repr(asked.probe), "session", f"preset={asked.preset!r}", f"seed={asked.seed}"]
    words += [f"{name}={value!r}" for name, value in asked.given.items()]
    one = ", ".join(words)
    called = one if len(one) < 90 else "\n    " + ",\n    ".join(words) + ",\n"
    return (
        "import workbench as wb\n\n"
        f"session = wb.load({asked.model!r}{adapter})\n"
        f"run = wb.run({called})\n"
        "print(run.summary)"
    )
