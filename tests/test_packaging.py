"""The distribution: everything is in the wheel, and it works away from the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from workbench import __version__
from workbench.records.environment import packages

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "workbench": "workbench",
    "probes": "workbench/probes",
    "kernels": "workbench/kernels",
    "dashboards": "workbench/dashboards",
    "data": "workbench/data",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, tracked.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(out),
            str(source),
        ],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


def test_wheel_holds_every_module_and_every_shipped_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        top, _, rest = name.partition("/")
        assert f"{FOLDERS[top]}/{rest}" in held, f"{name} is missing from the wheel"


def test_wheel_outside_the_checkout_loads_the_shipped_organisms(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
    )
    program = (
        "import workbench as wb, workbench.models, pathlib;"
        "names = [one.id for one in workbench.models.listing() if one.id.startswith('organism/')];"
        "assert names, 'no organism in the wheel';"
        f"assert pathlib.Path(wb.__file__).is_relative_to({str(site)!r}), wb.__file__;"
        "[print(name, wb.load(name).shape) for name in names]"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "organism/" in done.stdout


def test_the_command_is_installed() -> None:
    done = subprocess.run([Path(sys.executable).with_name("workbench"), "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"workbench {__version__}"


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    assert wheel.name.startswith(f"workbench-{__version__}-")
    assert packages()["workbench"] == __version__
    newest = re.search(r"^## (\S+) – (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and newest[1] == __version__, "CHANGELOG.md begins with another version"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], str(cited["date-released"])) == newest.groups(), "CITATION.cff names another version"
