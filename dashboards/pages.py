"""The pages that only show saved runs, by their address; each is called with the folder of the runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .pages.compare import compare_page

SAVED: dict[str, Callable[[Path], Any]] = {
    "compare": compare_page,
}
