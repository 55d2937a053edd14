"""The house has rooms, and imports go one way: down."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import import_graph

ROOT = Path(__file__).parents[1]


def test_no_import_goes_up() -> None:
    assert import_graph.upwards(ROOT) == []


def test_no_modules_import_each_other() -> None:
    assert import_graph.circles(ROOT) == []


def test_nothing_imports_a_page() -> None:
    outside = [a for a in import_graph.arrows(ROOT) if not a.source.startswith("workbench.dashboards")]
    assert [arrow for arrow in outside if arrow.target.startswith("workbench.dashboards")] == []


def test_every_module_has_a_room() -> None:
    for module in import_graph.modules(ROOT):
        import_graph.level(module)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("workbench/records/store.py", "def late():\n    from ..runs import execute\n"),
        ("workbench/internals/sites.py", "if TYPE_CHECKING:\n    from ..reports.report import Report\n"),
        ("workbench/runs/run.py", "import workbench.dashboards.app\n"),
        ("kernels/masks.py", "from workbench.errors import UsageError\n"),
        ("probes/head_roles/scores.py", "from workbench.probes.context_knob.config import PRESETS\n"),
    ],
)
def test_one_arrow_turned_round_is_found(tmp_path: Path, file: str, line: str) -> None:
    for folder in import_graph.ROOTS:
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.json", "*.html")
        )
    target = tmp_path / file
    target.write_text(f"{target.read_text()}\n{line}")
    assert len(import_graph.upwards(tmp_path)) == 1


def test_a_circle_within_one_room_is_found(tmp_path: Path) -> None:
    for folder in import_graph.ROOTS:
        (tmp_path / folder).mkdir()
    (tmp_path / "workbench" / "texts").mkdir()
    (tmp_path / "workbench" / "texts" / "one.py").write_text("from . import two\n")
    (tmp_path / "workbench" / "texts" / "two.py").write_text("def late():\n    from .one import x\n")
    assert import_graph.circles(tmp_path) == [("workbench.texts.one", "workbench.texts.two")]
