"""Files are written whole or not at all, whoever writes them at the same moment."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from workbench import files
from workbench.models.model_files import write_json
from workbench.probes.context_knob.knob.knob import Knob
from workbench.probes.context_knob.knob.knob import load as load_knob
from workbench.progress import Progress, Reporter


def _json(folder: Path, value: int) -> None:
    write_json(folder / "note.json", [value] * 500)


def _knob(folder: Path, value: int) -> None:
    Knob(torch.eye(4)[value - 1], 1, float(value), 2.0 * value, "a model").save(folder)


def _text(folder: Path, value: int) -> None:
    files.write(folder / "note.txt", f"{value}\n" * 500)


def _read(folder: Path) -> object:
    if (folder / "note.json").exists():
        return set(json.loads((folder / "note.json").read_text()))
    if (folder / "note.txt").exists():
        return {int(line) for line in (folder / "note.txt").read_text().splitlines()}
    return {1 + int(load_knob(folder).direction.argmax())}


@pytest.mark.parametrize("write", [_json, _knob, _text])
def test_threads_that_write_one_file_leave_one_of_them_whole(
    write: Callable[[Path, int], None], tmp_path: Path
) -> None:
    wrong: list[BaseException] = []
    begin = threading.Barrier(4)

    def work(value: int) -> None:
        begin.wait()
        try:
            for _ in range(60):
                write(tmp_path, value)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert _read(tmp_path) in [{value} for value in range(1, 5)]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(ZeroDivisionError), files.draft(tmp_path / "a.txt") as made:
        assert made.suffix == ".txt"
        made.write_text("half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "before"


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with files.draft(tmp_path / "made", tmp_path / "drafts") as made:
            made.mkdir()
            (made / content).touch()
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["second"]
    assert list((tmp_path / "drafts").iterdir()) == []


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = files.draft(tmp_path / "a.txt")
    left.__enter__().write_text("half")
    (tmp_path / ".hidden").touch()
    files.remove_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


def test_a_hash_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 3)
    (tmp_path / "a").write_bytes(b"0123456789")
    heard: list[Progress] = []
    assert files.sha256(tmp_path / "a", Reporter(heard.append)) == hashlib.sha256(b"0123456789").hexdigest()
    assert [event.done for event in heard] == [3, 6, 9, 10] and heard[-1].total == 10
