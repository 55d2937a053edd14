"""Probes and recipes by name: listed without being loaded, and safe to define again in a notebook."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Generic, TypeVar

from .. import tracebacks
from ..errors import UnknownName, UsageError, WorkbenchError
from .beside import module_of
from .contract import Config, Probe, Recipe
from .form_fields import fields_of
from .setting_names import RESERVED

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name; a promise `"module:attribute"` is loaded when it is first asked for."""

    def __init__(self, kind: str, check: Callable[[object], T], name: Callable[[T], str]) -> None:
        self.kind = kind
        self._check = check
        self._name = name
        self._known: dict[str, T | str] = {}
        self._discovered = self._discovering = False
        # Held while probes are discovered and by nothing that one of their modules calls at import: whoever imports
        # such a module has Python's lock of it, and would wait for this one while its holder waits for that.
        self._discovery = threading.RLock()
        self._logged: set[str] = set()

    def register_lazy(self, name: str, target: str) -> None:
        """Say where the thing of this name is, as `"module:attribute"`, without loading it."""
        self._valid(name)
        self._known.setdefault(name, target)

    def add(self, thing: T) -> T:
        """Register a thing under its own name; usable as a decorator.

        Defining the same thing again replaces it, as a notebook does when a cell runs twice. Raises `UsageError` if
        another one has the name, or if something is missing from it.
        """
        checked = self._check(thing)
        name = self._name(checked)
        self._valid(name)
        before = self._known.get(name)
        if before is not None and _origin(before) != _origin(thing):
            raise UsageError(
                f"there is already a {self.kind} named {name!r}, from {_origin(before)}; choose another name"
            )
        self._known[name] = checked
        return thing

    def get(self, name: str) -> T:
        """The thing of this name.

        Raises `UnknownName` with the nearest name if there is none, and `WorkbenchError` if it cannot be loaded.
        """
        self._discover()
        if name not in self._known:
            raise UnknownName(self.kind, name, self._known)
        found = self._known[name]
        if isinstance(found, str):
            module, _, attribute = found.partition(":")
            try:
                target = getattr(importlib.import_module(module), attribute)
                checked = self._check(target)
            except WorkbenchError:
                raise
            except Exception as error:
                plain = isinstance(error, (ImportError, AttributeError))
                said = str(error) if plain else f"{type(error).__name__}: {error}"
                why = f"the {self.kind} {name!r} cannot be loaded from {found}: {said}"
                # Pages ask again and again; a package that is not installed needs no traceback.
                if name not in self._logged and not isinstance(error, ModuleNotFoundError):
                    self._logged.add(name)
                    tracebacks.log(error, why)
                raise WorkbenchError(why) from error
            found = self._known[name] = checked
        return found

    def names(self) -> list[str]:
        self._discover()
        return sorted(self._known)

    def loaded(self) -> tuple[list[T], dict[str, str]]:
        """All that can be loaded, and for the others, by name, why not: one that is broken does not hide the rest."""
        found: list[T] = []
        broken: dict[str, str] = {}
        for name in self.names():
            try:
                found.append(self.get(name))
            except WorkbenchError as error:
                broken[name] = str(error)
        return found, broken

    def __iter__(self) -> Iterator[T]:
        return (self.get(name) for name in self.names())

    def _discover(self) -> None:
        """Hear the promises of this distribution's probes, and of every other distribution that brings some."""
        if self._discovered:
            return
        with self._discovery:
            if self._discovered or self._discovering:
                return
            self._discovering = True
            try:
                importlib.import_module("workbench.probes")
                for entry in metadata.entry_points(group=f"workbench.{self.kind}s"):
                    self.register_lazy(entry.name, entry.value)
                self._discovered = True
            finally:
                self._discovering = False

    def _valid(self, name: str) -> None:
        # Names become parts of paths and of run ids.
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9]*([-/][a-z0-9]+)*", name):
            raise UsageError(f"{name!r} cannot name a {self.kind}: write small letters, digits and single hyphens")


def _origin(thing: object) -> str:
    if isinstance(thing, str):
        return thing
    target = thing if isinstance(thing, type) else getattr(thing, "train", type(thing))
    return f"{target.__module__}:{getattr(target, '__qualname__', target)}"


def _check_probe(thing: object) -> Probe:
    probe = thing() if isinstance(thing, type) and issubclass(thing, Probe) and not _missing(thing) else thing
    if not isinstance(probe, Probe):
        if isinstance(thing, type) and issubclass(thing, Probe):
            raise UsageError(f"{thing!r} is not a whole probe: it lacks {', '.join(_missing(thing))}")
        raise UsageError(f"{thing!r} is not a probe: derive it from workbench.probe.Probe")
    if taken := [name for name in probe.Config.model_fields if name in RESERVED]:
        raise UsageError(
            f"the probe {probe.name!r} has a setting named {taken[0]!r}, which running uses itself; rename it"
        )
    if lacking := {"smoke", "quick", "full"} - set(probe.presets):
        raise UsageError(f"the probe {probe.name!r} lacks the preset {sorted(lacking)[0]!r}")
    for preset in probe.presets.values():
        probe.Config(**preset)
    fields_of(probe)
    return probe


def _missing(thing: type) -> list[str]:
    words = ("name", "question", "method", "Config", "presets")
    own = [
        method
        for method in ("figures", "summary")
        if getattr(thing, method, None) is getattr(Probe, method) and module_of(thing, method) is None
    ]
    abstract = sorted([*getattr(thing, "__abstractmethods__", ()), *own])
    return [*abstract, *(word for word in words if not hasattr(thing, word))]


def _check_recipe(thing: object) -> Recipe:
    if not isinstance(thing, Recipe):
        raise UsageError(f"{thing!r} is not a recipe: make it with workbench.probe.Recipe")
    if not issubclass(thing.Config, Config):
        raise UsageError(f"the recipe {thing.name!r} needs a Config derived from workbench.probe.Config")
    return thing


PROBES: Registry[Probe] = Registry("probe", _check_probe, lambda probe: probe.name)
RECIPES: Registry[Recipe] = Registry("recipe", _check_recipe, lambda recipe: recipe.name)
