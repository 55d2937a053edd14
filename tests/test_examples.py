"""The examples in docstrings and on pages do what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import workbench as wb

if TYPE_CHECKING:
    from workbench.internals.session import Session

ROOT = Path(__file__).parents[1]
PACKAGES = {"workbench": "workbench", **{name: f"workbench.{name}" for name in ("probes", "kernels", "dashboards")}}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    """The names of all modules with an example in a docstring."""
    found = []
    for folder, package in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "\n>>> " in path.read_text(encoding="utf-8").replace("    ", ""):
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                found.append(".".join((package, *(part for part in parts if part != "__init__"))))
    return found


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load("organism/head-roles")


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples(module: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each docstring by itself, with `wb`, `session` and an empty working folder, as the reference says."""
    monkeypatch.chdir(tmp_path)
    there: dict[str, Any] = {"wb": wb, "session": session}
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    finder = doctest.DocTestFinder()
    examples = [one for one in finder.find(importlib.import_module(module), extraglobs=there) if one.examples]
    assert examples, f"the examples in {module} are not found where a docstring is looked for"
    for example in examples:
        runner.run(example, out=said.append)
    assert not runner.summarize(verbose=False).failed, "\n" + "".join(said)


@pytest.mark.parametrize(
    "page", sorted(p.name for p in (ROOT / "docs").glob("*.md") if "\n>>> " in p.read_text("utf-8"))
)
def test_examples_of_pages(page: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples of a page one after the other, with the same names."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    example = doctest.DocTestParser().get_doctest(text, {"wb": wb, "session": session}, page, page, 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(example, out=said.append)
    assert example.examples and not runner.summarize(verbose=False).failed, "\n" + "".join(said)
