"""What the documentation names is there: links, files, modules, commands and targets."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench as wb

ROOT = Path(__file__).parents[2]
FOLDERS = "bench|dashboards|data|docs|findings|kernels|notebooks|probes|soak|tests|workbench"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documents() -> list[str]:
    """Every Markdown file of the repository but those that a test or a run made."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True)
    names = listed.stdout.decode().split("\n")
    return sorted(name for name in names if name and not name.startswith("tests/") and (ROOT / name).exists())


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def spans(name: str) -> Iterator[str]:
    """What stands between single backticks, outside of fenced code."""
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text(name))))


def code(name: str) -> str:
    """All fenced Python of a document."""
    return "\n".join(body for language, body in FENCE.findall(text(name)) if language == "python")


def anchors(name: str) -> set[str]:
    """The names of a document's headings, as a forge makes them."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", text(name)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", documents())
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", FENCE.sub("", text(name))):
        link = target[0] or target[1]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        assert there.exists(), f"{name} links to {link}, which is not there"
        if anchor:
            inside = there.resolve().relative_to(ROOT.resolve()).as_posix()
            assert anchor in anchors(inside), f"{name} links to {link}, and {inside} has no such heading"


@pytest.mark.parametrize("name", documents())
def test_files_and_tests_exist(name: str) -> None:
    gone = []
    invented = re.compile(r"my[-_]probe")
    for span in spans(name):
        path, _, test = span.partition("::")
        if not invented.search(path) and re.fullmatch(rf"(?:(?:{FOLDERS})/|\.ci/|\.github/)[\w./*-]*", path):
            found = list(ROOT.glob(path.rstrip("/")))
            if not found or (test and f"def {test}(" not in found[0].read_text(encoding="utf-8")):
                gone.append(span)
    assert not gone, f"{name} names what is not there: {', '.join(gone)}"


@pytest.mark.parametrize("name", documents())
def test_python_names_exist(name: str) -> None:
    dotted = {span for span in spans(name) if re.fullmatch(r"workbench(?:\.\w+)+", span)}
    for module, names in re.findall(r"^\s*(?:>>> )?from (workbench[\w.]*) import ([\w, ]+)", code(name), re.MULTILINE):
        dotted |= {f"{module}.{each.split(' as ')[0].strip()}" for each in names.split(",")}
    gone = {each for each in dotted if not resolves(each)}
    short = set(re.findall(r"\bwb\.(\w+)", code(name) + " ".join(spans(name))))
    gone |= {f"wb.{each}" for each in short if not hasattr(wb, each)}
    assert not gone, f"{name} names what is not there: {', '.join(sorted(gone))}"


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        for part in parts[size:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("name", documents())
def test_commands_and_targets_exist(name: str) -> None:
    import typer

    from workbench.cli.app import app

    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = [*spans(name), *(line for _, body in FENCE.findall(text(name)) for line in body.splitlines())]
    for line in lines:
        for word, known in (("workbench", commands), ("make", targets)):
            said = re.match(rf"{word}\s+([a-z]+)\b(?!=)", line)
            assert not said or said[1] in known, f"{name} names `{line}`: there is no {word} {said and said[1]}"


def test_the_hooks_run_what_make_check_runs() -> None:
    import yaml

    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    check = re.search(r"^check: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert check and [hook["entry"] for hook in hooks] == [f"make {target}" for target in check[1].split()]
