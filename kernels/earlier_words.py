"""Words of version 0.1 that are still understood, with a warning that names today's."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
WORDS = {"columns": "received", "points": "weights_at"}


def current(given: Mapping[str, Any], stacklevel: int = 2) -> dict[str, Any]:
    """The same arguments under today's words; raises `ValueError` where both words are given."""
    found = dict(given)
    for earlier, word in WORDS.items():
        if earlier in found:
            if word in found:
                raise ValueError(f"{earlier} is the earlier word for {word}; give one of them")
            warnings.warn(f"{earlier} is called {word} now", DeprecationWarning, stacklevel=stacklevel + 1)
            found[word] = found.pop(earlier)
    return found


def understood(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which also understands earlier words for its arguments."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **current(kwargs))

    return called
