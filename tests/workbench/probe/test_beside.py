"""What lies beside a probe's class stands for its methods; what is nowhere is named when the probe is registered."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workbench.errors import UsageError
from workbench.probe.beside import WORDS, beside, module_of
from workbench.probe.contract import Config, Probe
from workbench.probe.explore import Details
from workbench.probe.registry import PROBES, Registry, _check_probe

PROBE = """
from workbench.probe import Config, Probe

class Made(Probe):
    name, question, method, Config = "made", "", "", Config
    presets = {"smoke": {}, "quick": {}, "full": {}}

    def work(self, session, config):
        return []

    def run(self, session, config, context):
        raise NotImplementedError
"""
MODULES = {
    "figures": "def draw(data):\n    return ['drawn', data]\n",
    "summary": "def sentences(data, record):\n    return ['said', data, record]\n",
    "details": "def coordinates(data):\n    return [data]\ndef details(data, chosen):\n    return (data, chosen)\n",
    "live_view": "def live():\n    return 'live'\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """Make a package with a probe and some of the modules beside it."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(*modules: str) -> ModuleType:
        made.append(f"made_probe_{len(made)}")
        folder = tmp_path / made[-1]
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "probe.py").write_text(PROBE)
        for name in modules:
            (folder / f"{name}.py").write_text(MODULES[name])
        importlib.invalidate_caches()
        return importlib.import_module(f"{made[-1]}.probe")

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[name]


def test_every_word_beside_the_class_stands_for_its_method(package: Callable[..., ModuleType]) -> None:
    probe: Any = package(*MODULES).Made()
    assert probe.figures("data", "record") == ["drawn", "data"]
    assert probe.summary("data", "record") == ["said", "data", "record"]
    assert probe.coordinates("data", "record") == ["data"]
    assert probe.details("data", "record", {"layer": 1}) == ("data", {"layer": 1})
    assert probe.live() == "live"


def test_nothing_is_loaded_before_it_is_wanted(package: Callable[..., ModuleType]) -> None:
    module = package(*MODULES)
    assert module_of(module.Made, "figures") == f"{module.__package__}.figures"
    _check_probe(module.Made)
    assert f"{module.__package__}.figures" not in sys.modules


def test_a_probe_without_details_and_live_view_has_none(package: Callable[..., ModuleType]) -> None:
    probe: Any = package("figures", "summary").Made()
    assert probe.coordinates("data", "record") == () and probe.live() is None
    assert probe.details("data", "record", {}) == Details()


def test_a_class_derived_elsewhere_keeps_what_lies_beside_the_first(package: Callable[..., ModuleType]) -> None:
    base = package(*MODULES).Made

    class Mine(base):  # type: ignore[misc, valid-type]
        name = "mine"

        def summary(self, data: Any, record: Any) -> list[str]:
            return ["my own"]

    assert Mine().figures("data", "record") == ["drawn", "data"] and Mine().summary("data", "record") == ["my own"]


def test_a_missing_word_is_named_when_the_probe_is_registered(package: Callable[..., ModuleType]) -> None:
    registry: Registry[Probe] = Registry("probe", _check_probe, lambda probe: probe.name)
    with pytest.raises(UsageError, match="it lacks figures, summary"):
        registry.add(package().Made)
    made = package("summary").Made
    with pytest.raises(UsageError, match=r"it lacks figures$"):
        registry.add(made)
    with pytest.raises(NotImplementedError, match=r"no figures\.draw lies beside it"):
        made().figures(None, None)


def test_a_class_in_a_notebook_brings_its_own() -> None:
    class Alone(Probe[Config]):
        name, question, method, Config = "alone", "", "", Config  # type: ignore[assignment]
        presets = {"smoke": {}, "quick": {}, "full": {}}  # noqa: RUF012

    Alone.__module__ = "__main__"
    registry: Registry[Probe] = Registry("probe", _check_probe, lambda probe: probe.name)
    with pytest.raises(UsageError, match="is not a whole probe: it lacks figures, run, summary, work"):
        registry.add(Alone)  # type: ignore[type-abstract]


@pytest.mark.parametrize("name", ["attention-profile", "context-knob", "head-roles"])
def test_every_probe_here_has_all_its_words(name: str) -> None:
    found = {method for method in WORDS if beside(type(PROBES.get(name)), method) is not None}
    assert found >= set(WORDS) - {"live"}
    assert (PROBES.get(name).live() is not None) == (name == "context-knob")
