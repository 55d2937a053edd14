"""What stands beside a probe's class: functions with agreed names in modules with agreed names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

WORDS = {
    "figures": ("figures", "draw"),
    "summary": ("summary", "sentences"),
    "coordinates": ("details", "coordinates"),
    "details": ("details", "details"),
    "live": ("live_view", "live"),
}
"""Methods of a probe, each with the module and the function in it that stand for the method."""


def module_of(cls: type, method: str) -> str | None:
    """The module that stands for a method, beside the class or one that it is derived from; None if there is none.

    Nothing is imported but the package that the class is in.
    """
    for each in cls.__mro__:
        package = getattr(sys.modules.get(each.__module__), "__package__", None)
        # what lies beside the contract itself is no probe's
        if package and package != __package__ and find_spec(name := f"{package}.{WORDS[method][0]}") is not None:
            return name
    return None


def beside(cls: type, method: str) -> Callable[..., Any] | None:
    """The function that stands for a method of a probe's class; None if there is none."""
    module = module_of(cls, method)
    return None if module is None else getattr(importlib.import_module(module), WORDS[method][1], None)
