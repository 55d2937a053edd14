"""numba's compiler with the settings every CPU kernel shares."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba

# everything that lets LLVM vectorise sums, except "no infinities": hidden keys are -inf
FASTMATH = {"reassoc", "nsz", "contract", "arcp", "nnan"}


def compiled(signature: str | None = None, inline: str = "never") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile without the interpreter lock, and keep the machine code beside the source (or in the user's cache)."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        options: dict[str, Any] = {"nogil": True, "fastmath": FASTMATH, "inline": inline}
        njit: Any = partial(numba.njit, **options) if signature is None else partial(numba.njit, signature, **options)
        try:
            kept: Callable[..., Any] = njit(cache=signature is not None)(function)
        except (RuntimeError, OSError):  # nowhere to keep it: compile in every process
            kept = njit()(function)
        return kept

    return wrap
