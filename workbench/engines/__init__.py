"""Ways to reach a model's internals, each behind the same interface."""

from .base import Engine, Inputs, Tap

__all__ = ["Engine", "Inputs", "Tap"]
