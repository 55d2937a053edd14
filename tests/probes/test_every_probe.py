"""Every probe of this distribution has what a probe consists of: files, settings, organism and null, tests, docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench.probe.contract import Probe
from workbench.probe.form_fields import fields_of
from workbench.probe.registry import PROBES, RECIPES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OURS = sorted(re.findall(r'PROBES\.register_lazy\("([a-z-]+)"', (ROOT / "probes" / "__init__.py").read_text("utf-8")))
FOLDERS = sorted(path.name for path in (ROOT / "probes").iterdir() if (path / "__init__.py").exists())


@pytest.fixture(params=OURS)
def probe(request: pytest.FixtureRequest) -> Probe:
    return PROBES.get(request.param)


def folder_of(probe: Probe) -> str:
    return probe.name.replace("-", "_")


def test_every_folder_is_registered() -> None:
    assert [name.replace("-", "_") for name in OURS] == FOLDERS


def test_its_folder_has_the_words_of_the_others(probe: Probe) -> None:
    there = {path.name for path in (ROOT / "probes" / folder_of(probe)).glob("*.py")}
    assert {"__init__.py", "config.py", "probe.py", "figures.py", "summary.py", "organism.py"} - there == set()


def test_every_setting_says_what_it_is_and_has_a_place_in_the_form(probe: Probe) -> None:
    fields = {field.name: field for field in fields_of(probe)}
    assert [name for name, info in probe.Config.model_fields.items() if not info.description] == []
    assert list(fields) == list(probe.Config.model_fields)
    assert [name for name, field in fields.items() if field.kind == "choice" and not field.options] == []


def test_its_presets_are_three(probe: Probe) -> None:
    assert set(probe.presets) == {"smoke", "quick", "full"}
    assert probe.Config(**probe.presets["smoke"]) != probe.Config(**probe.presets["full"])


def test_its_organism_and_the_null_are_shipped_with_a_recipe(probe: Probe) -> None:
    recipe = RECIPES.get(f"{probe.name}-organism")
    for name in (probe.name, f"{probe.name}-null"):
        there = {path.name for path in (ROOT / "data" / "organisms" / name).glob("*")}
        assert {"config.json", "model.safetensors", "planted.json", "record.json"} - there == set(), name
    assert recipe.makes


def test_it_has_tests_a_row_in_the_readme_and_a_page(probe: Probe) -> None:
    tests = {path.name for path in (ROOT / "tests" / "probes" / folder_of(probe)).rglob("test_*.py")}
    assert tests, f"there is no test in tests/probes/{folder_of(probe)}"
    row = re.search(rf"^\| `{probe.name}` \| .+$", README, re.MULTILINE)
    assert row, f"README.md has no row for {probe.name}"
    page = re.search(r"\[docs\]\((docs/[\w-]+\.md)\)", row[0])
    assert page and (ROOT / page[1]).is_file(), f"README.md leads to no page on {probe.name}"
    assert probe.papers or "this project" in row[0]
    assert [
        paper.arxiv for paper in probe.papers if paper.arxiv not in (ROOT / page[1]).read_text("utf-8") + row[0]
    ] == []
