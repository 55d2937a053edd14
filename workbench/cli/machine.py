"""What this machine can do: GPU, Triton, Chrome, memory, disk, cache, versions."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

from ..records.environment import packages

_CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")


def examine() -> dict[str, Any]:
    """Everything about this machine that decides what can be run on it."""
    import torch

    from ..models import cache_folder, listing

    gpu = torch.cuda.is_available()
    cache = cache_folder()
    memory = psutil.virtual_memory()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "memory": {"total": memory.total, "available": memory.available},
        "disk": {"path": str(there), "free": shutil.disk_usage(there).free},
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "triton": _triton(gpu),
        "chrome": _chrome(),
        "pdf": _pdf(),
        "cache": str(cache),
        "models": {model.id: model.cached for model in listing()},
        "packages": packages(),
    }


def _triton(gpu: bool) -> dict[str, Any]:
    if importlib.util.find_spec("triton") is None:
        return {"installed": False, "detail": "not installed: attention statistics run on the CPU"}
    from importlib.metadata import version

    said = "runs on the GPU" if gpu else "no GPU to run on; kernels can be compiled ahead and interpreted"
    return {"installed": True, "detail": f"{version('triton')}: {said}"}


def _chrome() -> str | None:
    given = os.environ.get("BROWSER_PATH")
    return given if given and Path(given).exists() else next(filter(None, map(shutil.which, _CHROMES)), None)


def _pdf() -> str:
    """Whether reports can be written as PDF: WeasyPrint needs libraries of the system beside the package."""
    if importlib.util.find_spec("weasyprint") is None:
        return "no: pip install 'workbench[pdf]'"
    try:
        importlib.import_module("weasyprint")
    except OSError as error:
        return f"no: WeasyPrint lacks a system library ({error})".splitlines()[0]
    return "yes"
