"""A small model on disk and in a session, a probe from another distribution, and the command line in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.conftest import tiny

if TYPE_CHECKING:
    from workbench.internals.session import Session

PLUGIN = Path(__file__).parents[1] / "fixtures" / "plugin"
# Where an installed distribution would be found: its entry points bring the probe and the recipe.
sys.path.append(str(PLUGIN))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of random weights as a local folder, without a tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "tiny-llama"
    tiny("llama").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def session(tiny_folder: Path) -> Session:
    from workbench.internals.session import load

    return load(str(tiny_folder))


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


class Said(NamedTuple):
    """What a command left behind: its exit status, stdout and stderr."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(at: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Call the command line in this process and working folder."""
    from workbench.__main__ import main

    def call(*words: object) -> Said:
        capfd.readouterr()
        status = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Said(status, out, err)

    return call


@pytest.fixture
def environment() -> dict[str, str]:
    """Environment variables for a process of its own that knows the probe."""
    return {**os.environ, "PYTHONPATH": str(PLUGIN), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
