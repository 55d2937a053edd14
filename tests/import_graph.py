"""Who imports whom in this project: every import counts, at load, inside a function or for types only."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOTS = {
    "workbench": "workbench",
    "probes": "workbench.probes",
    "kernels": "workbench.kernels",
    "dashboards": "workbench.dashboards",
}
ORDER = [
    # from the top to the bottom: a line imports only what stands below it
    ["workbench.dashboards.__main__"],
    ["workbench.dashboards", "workbench.dashboards.app"],
    ["workbench.dashboards.not_found", "workbench.dashboards.sessions"],
    ["workbench.dashboards.pages"],
    ["workbench.dashboards.components"],
    ["workbench.dashboards.server"],
    ["workbench.probes"],
    ["workbench.__main__"],
    ["workbench"],
    ["workbench.cli"],
    ["workbench.notebook"],
    ["workbench.runs"],
    ["workbench.reports"],
    ["workbench.probe"],
    ["workbench.internals"],
    ["workbench.models"],
    ["workbench.records"],
    ["workbench.figures"],
    ["workbench.texts"],
    ["workbench.progress_bars"],
    ["workbench.html_table"],
    ["workbench.files"],
    ["workbench.statistics"],
    ["workbench.progress"],
    ["workbench.tracebacks"],
    ["workbench.formatting"],
    ["workbench.errors"],
    ["workbench.version"],
    ["workbench.kernels"],
]
"""The rooms of the house. A module belongs to the longest name that it begins with."""


class Arrow(NamedTuple):
    source: str
    target: str
    where: str


def modules(root: Path) -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for folder, namespace in ROOTS.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            found[".".join([namespace, *(part for part in parts if part != "__init__")])] = path
    return found


def arrows(root: Path) -> list[Arrow]:
    """Every import of one module of the project by another."""
    known = modules(root)
    found = []
    for source, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for target in _targets(node, source, path.name == "__init__.py", known):
                if target != source:
                    found.append(Arrow(source, target, f"{path.relative_to(root)}:{node.lineno}"))  # type: ignore[attr-defined]
    return found


def _targets(node: ast.AST, source: str, package: bool, known: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names if name.name in known)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            here = source.split(".") if package else source.split(".")[:-1]
            here = here[: len(here) - (node.level - 1)]
            base = ".".join([*here, *([node.module] if node.module else [])])
        for name in node.names:
            if (inner := f"{base}.{name.name}") in known:
                yield inner
            elif base in known:
                yield base


def level(module: str) -> int:
    """How far from the ground a module stands; raises `KeyError` for one that has no room."""
    rooms = {room: len(ORDER) - row for row, line in enumerate(ORDER) for room in line}
    parts = module.split(".")
    for size in range(len(parts), 1 if len(parts) > 1 else 0, -1):
        if (name := ".".join(parts[:size])) in rooms:
            return rooms[name]
    raise KeyError(f"{module} stands in no room: put it into one of the packages, or give its package a line in ORDER")


def upwards(root: Path) -> list[str]:
    """Arrows from a room to one above it, and from one probe to another."""
    wrong = []
    for arrow in arrows(root):
        up = level(arrow.target) > level(arrow.source)
        across = _probe(arrow.source) and _probe(arrow.target) and _probe(arrow.source) != _probe(arrow.target)
        if up or across:
            wrong.append(f"{arrow.where}: {arrow.source} imports {arrow.target}")
    return wrong


def _probe(module: str) -> str:
    """The folder of the probe that a module belongs to; empty where there is none."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["workbench", "probes"] and len(parts) > 2 else ""


def circles(root: Path) -> list[list[str]]:
    """Modules that import each other, whatever the way round."""
    ahead: dict[str, set[str]] = {}
    for arrow in arrows(root):
        ahead.setdefault(arrow.source, set()).add(arrow.target)
    # Take away what imports nothing that is left, again and again: what stays is on a circle, or above one.
    left = dict(ahead)
    while done := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in done:
            del left[name]
    reach = {name: _reachable(name, left) for name in left}
    return sorted({tuple(sorted(m for m in reach[n] if n in reach.get(m, ()))) for n in left if n in reach[n]})  # type: ignore[arg-type]


def _reachable(start: str, ahead: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in ahead.get(waiting.pop(), set()) - seen:
            seen.add(target)
            waiting.append(target)
    return seen
