"""Names and what they stand for: what cannot be loaded says why, to the reader in a line and to the log in full."""

from __future__ import annotations

import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest

from workbench.errors import WorkbenchError
from workbench.probe.registry import Registry


def registry() -> Registry[object]:
    made: Registry[object] = Registry("probe", lambda thing: thing, lambda thing: "one")
    made._discovered = True
    return made


def test_no_thread_sees_a_list_that_is_still_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    known: Registry[object] = Registry("thing", lambda thing: thing, lambda thing: "thing")
    asking, answered = threading.Event(), threading.Event()
    seen: list[list[str]] = []

    def entry_points(group: str) -> list[metadata.EntryPoint]:
        asking.set()
        answered.wait(0.3)  # a second thread that does not wait would be told of nothing now
        return [metadata.EntryPoint("late", "a.module:Thing", group)]

    def second() -> None:
        asking.wait()
        seen.append(known.names())
        answered.set()

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    thread = threading.Thread(target=second)
    thread.start()
    seen.append(known.names())
    thread.join()
    assert seen == [["late"], ["late"]]


def test_a_discovery_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known: Registry[object] = Registry("thing", lambda thing: thing, lambda thing: "thing")
    found = iter([OSError("a disk that is away"), [metadata.EntryPoint("late", "a.module:Thing", "things")]])

    def entry_points(group: str) -> list[metadata.EntryPoint]:
        if isinstance(one := next(found), OSError):
            raise one
        return one

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    with pytest.raises(OSError, match="away"):
        known.names()
    assert known.names() == ["late"]


def test_a_bug_in_a_module_is_one_line_and_its_traceback_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken_probe_module.py").write_text("first = {}\nvalue = first['missing']\n")
    monkeypatch.syspath_prepend(tmp_path)
    known = registry()
    known.register_lazy("one", "broken_probe_module:Probe")
    for _ in range(2):
        with pytest.raises(WorkbenchError, match="'one' cannot be loaded from broken_probe_module:Probe: KeyError"):
            known.get("one")
    assert caplog.text.count("value = first['missing']") == 1
    assert "broken_probe_module" not in sys.modules


def test_a_package_that_is_not_there_needs_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    known = registry()
    known.register_lazy("one", "no_such_module_anywhere:Probe")
    with pytest.raises(WorkbenchError, match="No module named 'no_such_module_anywhere'"):
        known.get("one")
    assert caplog.text == ""
