"""The reference holds every public name with its explanation."""

from __future__ import annotations

import importlib
import inspect
import runpy
from pathlib import Path
from types import ModuleType

import pytest

API = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "api.py"))


def public(module: ModuleType) -> dict[str, object]:
    """Functions and classes that a module offers: what it lists, or what it defines."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    found = {name: getattr(module, name) for name in names}
    return {
        name: thing
        for name, thing in found.items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and (hasattr(module, "__all__") or thing.__module__ == module.__name__)
    }


@pytest.mark.parametrize("name", API["MODULES"])
def test_every_public_name_is_explained(name: str) -> None:
    module = importlib.import_module(name)
    things = public(module)
    assert module.__doc__ and things
    silent = [
        f"{each}.{part}" if part else each
        for each, thing in things.items()
        for part, value in {"": thing, **(methods(thing) if inspect.isclass(thing) else {})}.items()
        if not value.__doc__
    ]
    assert not silent, f"{name} has names without a docstring: {', '.join(silent)}"


def methods(thing: type) -> dict[str, object]:
    """The public methods and properties that a class of this project defines itself."""
    return {
        part: value
        for part, value in vars(thing).items()
        if not part.startswith("_") and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))
    }
