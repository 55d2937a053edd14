"""Ways to reach a model's internals, each behind the same interface."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from ..errors import UnknownName, WorkbenchError
from .base import Engine, Inputs, Tap

ENGINES = {
    "hf": ".hf:HfEngine",
    "nnsight": ".nnsight:NnsightEngine",
    "transformerlens": ".transformerlens:TransformerLensEngine",
}
"""Where each engine is; it is loaded when first used, and called with the model and, if it takes one, the tokenizer."""


def check(name: str) -> None:
    """Raise `UnknownName` if there is no engine of this name."""
    if name not in ENGINES:
        raise UnknownName("engine", str(name), ENGINES)


def build(name: str, model: Any, tokenizer: Any = None) -> Engine:
    """An engine by name on a model that is in memory.

    Raises `UnknownName`, and `WorkbenchError` if the engine cannot be loaded here.
    """
    check(name)
    module, _, attribute = ENGINES[name].partition(":")
    try:
        engine = getattr(importlib.import_module(module, __name__), attribute)
    except ImportError as error:
        raise WorkbenchError(f"the engine {name!r} cannot be loaded: {error}") from error
    return engine(model, tokenizer) if "tokenizer" in inspect.signature(engine).parameters else engine(model)


def attention_of(engine: Engine) -> str:
    """The implementation of attention that runs under an engine, in words."""
    told = getattr(engine.model.config, "_attn_implementation", None) or "unknown"
    return "workbench (sdpa)" if told == "workbench" else str(told)


__all__ = ["ENGINES", "Engine", "Inputs", "Tap", "attention_of", "build", "check"]
