"""What a run ran on: Python, platform, package versions, and the state of the checkout."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from ..version import __version__
from .record import Environment, GitInfo


def packages() -> dict[str, str]:
    """Versions of this package and of everything it declares, as far as they are installed."""
    names = []
    for requirement in metadata.requires("workbench") or ():
        if match := re.match(r"[A-Za-z0-9._-]+", requirement):
            names.append(match[0])
    # What is installed beside an editable checkout keeps the version it had when it was set up.
    versions = {"workbench": __version__}
    for name in dict.fromkeys(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return dict(sorted(versions.items()))


def git() -> GitInfo:
    """Commit of the checkout this code runs from, and whether it was changed; empty for an installed wheel."""
    folder = Path(__file__).resolve().parent

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy inside some other repository (a virtual environment in a project) is not this checkout.
    if not ask("ls-files", "--", Path(__file__).name):
        return GitInfo()
    changed = ask("status", "--porcelain", "--untracked-files=no")
    return GitInfo(commit=ask("rev-parse", "HEAD"), dirty=None if changed is None else bool(changed))


def environment() -> Environment:
    """Everything of this machine that may explain a difference between two runs."""
    import torch

    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=packages(),
        cpus=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        git=git(),
    )
