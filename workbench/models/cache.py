"""Where fetched models lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache: `WORKBENCH_CACHE`, else `XDG_CACHE_HOME/workbench`, else `~/.cache/workbench`."""
    if given := os.environ.get("WORKBENCH_CACHE"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser().absolute() if base else Path.home() / ".cache") / "workbench"
