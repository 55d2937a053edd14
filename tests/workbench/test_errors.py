"""What an error says: no words of the command line to whoever asks in Python or on a page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEAKS_OF_OPTIONS = ("workbench/cli", "dashboards/app.py", "dashboards/server/security.py")
"""What only a command calls; `dashboards/app.py` and its passwords are `workbench serve`."""
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


def _said(path: Path) -> list[tuple[int, str]]:
    """The texts within the `raise` statements of a file, and in the errors it makes."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        made = isinstance(node, ast.Call) and str(getattr(node.func, "id", "")).endswith(("Error", "UnknownName"))
        if isinstance(node, ast.Raise) or made:
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            # a whole command between backticks may be copied by anyone
            said = re.sub(r"`[^`]*`", "", "".join(text for text in texts if isinstance(text, str)))
            found.append((node.lineno, said))
    return found


@pytest.mark.parametrize("folder", ["workbench", "probes", "kernels", "dashboards"])
def test_no_error_speaks_of_an_option(folder: str) -> None:
    files = [
        path for path in (ROOT / folder).rglob("*.py") if not str(path.relative_to(ROOT)).startswith(SPEAKS_OF_OPTIONS)
    ]
    assert len(files) > 5
    wrong = [(path.name, line, said) for path in files for line, said in _said(path) if OPTION.search(said)]
    assert wrong == []
