"""Ways to reach a model's internals, each behind the same interface."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from ...errors import UnknownName, WorkbenchError
from ..own_attention import own_attention
from .base import Engine, Hook, Inputs

ENGINES = {
    "hf": ".hf:HfEngine",
    "nnsight": ".nnsight:NnsightEngine",
    "transformerlens": ".transformerlens:TransformerLensEngine",
}
"""Where each engine is; it is loaded when first used, and called with the model and what else it takes."""


def check(name: str) -> None:
    """Raise `UnknownName` if there is no engine of this name."""
    if name not in ENGINES:
        raise UnknownName("engine", str(name), ENGINES)


def build(name: str, model: Any, tokenizer: Any = None, plain: Engine | None = None) -> Engine:
    """An engine by name on a model that is in memory; `plain` is the engine of plain hooks on it, if there is one.

    Raises `UnknownName`, and `WorkbenchError` if the engine cannot be loaded here.
    """
    check(name)
    module, _, attribute = ENGINES[name].partition(":")
    try:
        engine = getattr(importlib.import_module(module, __name__), attribute)
    except ImportError as error:
        raise WorkbenchError(f"the engine {name!r} cannot be loaded: {error}") from error
    given = {"tokenizer": tokenizer, "plain": plain}
    return engine(model, **{word: given[word] for word in inspect.signature(engine).parameters if word in given})


def attention_of(engine: Engine) -> str:
    """The implementation of attention that runs under an engine, in words."""
    told = engine.implementation or "unknown"
    return "workbench (sdpa)" if told == "workbench" else own_attention(engine.source) or told


__all__ = ["ENGINES", "Engine", "Inputs", "Hook", "attention_of", "build", "check"]
