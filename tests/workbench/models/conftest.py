"""A small model as a folder, and a data folder with an organism."""

from __future__ import annotations

import shutil
from pathlib import Path

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
    import sys

    shutil.copytree(saved, tmp_path / "organisms" / "sample")
    (tmp_path / "organisms" / "unfinished").mkdir()
    monkeypatch.setattr(sys.modules["workbench.models.registered"], "files", lambda _: tmp_path)
    return tmp_path
