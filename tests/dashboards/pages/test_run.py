"""What the page of a run reads: its own record, and those it offers for comparison."""

from __future__ import annotations

import shutil
from pathlib import Path

import panel as pn
import pytest

from tests.sample_runs import write_run
from workbench.dashboards.pages import run as run_module
from workbench.records import store


def parts_of(runs: Path, asked: str, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the page of an address is made of."""
    monkeypatch.setattr(type(pn.state), "route_params", property(lambda self: {"run_id": asked}))
    made: list[object] = []
    monkeypatch.setattr(run_module, "page", lambda title, *parts: made.extend(parts))
    run_module.run_page(runs)
    return made


def test_a_run_of_many_reads_its_own_record_and_twenty_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = write_run(tmp_path, drawn=False)
    for number in range(40):
        for probe in ("head-roles", "another-probe"):
            other = f"20260101T0000{number:02d}Z-{probe}-{number:08x}"
            shutil.copytree(tmp_path / asked, tmp_path / other)
            record = tmp_path / other / store.RECORD
            record.write_text(record.read_text().replace(asked, other).replace('"head-roles"', f'"{probe}"'))
    looked: list[str] = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda folder: looked.append(folder.name) or read(folder))
    parts_of(tmp_path, asked, monkeypatch)
    assert asked in looked and 20 <= len(looked) <= 23
    assert not any("another-probe" in name for name in looked)


@pytest.mark.parametrize("asked", ["", "..", "nothing", "../x"])
def test_what_is_no_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    (part,) = parts_of(tmp_path, asked, monkeypatch)
    assert "No such run" in part.object  # type: ignore[attr-defined]


def test_a_run_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = write_run(tmp_path, drawn=False)
    (tmp_path / asked / store.RECORD).write_text("{")
    (part,) = parts_of(tmp_path, asked, monkeypatch)
    assert "is damaged" in part.object  # type: ignore[attr-defined]
