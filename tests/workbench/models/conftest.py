"""A small model as a folder, and a data folder with an organism."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny("llama", tie_word_embeddings=False).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A model's folder that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def shipped(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one organism."""
    shutil.copytree(saved, tmp_path / "organisms" / "sample")
    (tmp_path / "organisms" / "unfinished").mkdir()
    monkeypatch.setattr(sys.modules["workbench.models.registered"], "files", lambda _: tmp_path)
    return tmp_path


@pytest.fixture
def converts_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions of a fetch run in this process, which has the libraries that a new one would first import."""
    from workbench.models import convert

    fetching = sys.modules["workbench.models.fetch"]
    command = ["-m", convert.__name__]

    def run(arguments: list[str], folder: Path, reporter: Any, look: Any, environment: Any) -> tuple[int, str]:
        assert arguments[:2] == command, "a fetch runs nothing but its conversion and pip"
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            status = convert.main(arguments[2:])
        look(out.getvalue())
        return status, out.getvalue()

    monkeypatch.setattr(fetching, "run_python", run)
