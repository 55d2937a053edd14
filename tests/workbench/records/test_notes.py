"""Notes kept with a run: written and read whole, in every report, harmless, and no part of what is verified."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sample_figures import HOSTILE
from tests.sample_runs import write_run
from workbench.errors import UsageError
from workbench.records import notes, store
from workbench.records.file_hashes import verify
from workbench.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / write_run(tmp_path))


def test_notes_are_kept_replaced_and_removed(run: Run) -> None:
    assert run.notes == ""
    run.notes = "  Layer 17 is odd.\n\nTry again with more needles. "
    assert Run(run.folder).notes == "Layer 17 is odd.\n\nTry again with more needles."
    run.notes = "Another"
    assert run.notes == "Another" and not list(run.folder.parent.glob(".partial/*/*"))
    run.notes = ""
    assert run.notes == "" and not (run.folder / store.NOTES).exists()


def test_a_run_with_notes_is_still_what_was_written(run: Run) -> None:
    before = verify(run.folder, run.typed_record), store.hash_files(run.folder)
    run.notes = "seen"
    assert (verify(run.folder, run.typed_record), store.hash_files(run.folder)) == before


def test_what_cannot_be_kept_is_refused_and_the_old_stays(run: Run) -> None:
    run.notes = "old"
    with pytest.raises(UsageError, match="longer than"):
        run.notes = "x" * (notes.LONGEST + 1)
    assert run.notes == "old"


def test_a_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (run.folder / store.NOTES).symlink_to(tmp_path / "secret")
    assert run.notes == ""
    run.notes = "own"
    assert run.notes == "own" and (tmp_path / "secret").read_text() == "secret"


def test_reports_show_them_as_text_and_not_without_prompts(run: Run, tmp_path: Path) -> None:
    run.notes = f"Zanzibar4711 {HOSTILE}\n\nSecond"
    page = run.report(tmp_path / "r.html").read_text()
    assert "Notes" in page and "<img src=x" not in page and "&lt;img src=x onerror=" in page
    assert json.loads(run.report(tmp_path / "r.json").read_text())["runs"][0]["notes"] == run.notes
    for ending in ("html", "json", "md"):
        assert "Zanzibar4711" not in run.report(tmp_path / f"bare.{ending}", prompts=False).read_text()


def test_the_command_keeps_and_prints_them(cli, at: Path) -> None:
    id = write_run(at / "runs")
    assert cli("note", id, "worth a look").status == 0
    assert cli("note", id).out.strip() == "worth a look"
    assert cli("note", "nothing-like-it", "x").status == 2


def test_added_notes_keep_their_times_and_what_was_there(run: Run) -> None:
    run.notes = "Layer 17 is odd.\n\nTwo paragraphs."
    os.utime(run.folder / store.NOTES, (0, 0))
    notes.add(run.folder, "  seen again\r\n\r\nand again ")
    notes.add(run.folder, "third")
    first, second, third = notes.each(run.folder)
    assert first == ("1970-01-01T00:00:00Z", "Layer 17 is odd.\n\nTwo paragraphs.")
    assert second.text == "seen again\n\nand again" and third.text == "third"
    assert first.time < second.time <= third.time <= store.now()
    assert all(one.text in run.notes and one.time in run.notes for one in (first, second, third))


def test_a_note_cannot_make_another_of_an_earlier_time(run: Run) -> None:
    notes.add(run.folder, "mine\n\n2020-01-01T00:00:00Z\nnot mine")
    notes.add(run.folder, "2020-01-01T00:00:00Z\nnot mine")
    found = notes.each(run.folder)
    assert len(found) == 2 and all(not one.time.startswith("2020") for one in found)
    assert all("2020-01-01T00:00:00Z\nnot mine" in one.text for one in found)


def test_a_note_that_is_empty_or_too_long_is_refused_with_the_limit(run: Run) -> None:
    notes.add(run.folder, "x" * notes.LONGEST_NOTE)
    for text, said in (("", "some text"), (" \n", "some text"), ("x" * (notes.LONGEST_NOTE + 1), "than the 10,000")):
        with pytest.raises(UsageError, match=said):
            notes.add(run.folder, text)
    run.notes = "x" * (notes.LONGEST - 50)
    with pytest.raises(UsageError, match="of the 100,000 characters"):
        notes.add(run.folder, "y" * 40)
    assert run.notes == "x" * (notes.LONGEST - 50)


ADDING = """
import sys
from pathlib import Path
from workbench.records import notes
for number in range(20):
    notes.add(Path(sys.argv[1]), f"{sys.argv[2]} {number}")
"""


def test_processes_that_add_at_once_lose_nothing(run: Run) -> None:
    adding = [subprocess.Popen([sys.executable, "-c", ADDING, str(run.folder), name]) for name in ("a", "b", "c")]
    assert [process.wait(120) for process in adding] == [0, 0, 0]
    texts = [one.text for one in notes.each(run.folder)]
    assert len(texts) == 60
    for name in ("a", "b", "c"):
        assert [text for text in texts if text.startswith(name)] == [f"{name} {number}" for number in range(20)]


def test_the_command_adds_to_what_is_there(cli, at: Path) -> None:
    id = write_run(at / "runs")
    assert cli("note", id, "first", "--add").status == 0
    assert cli("note", id, "second", "--add").status == 0
    assert [one.text for one in notes.each(at / "runs" / id)] == ["first", "second"]
    assert cli("note", id, "--add").status == 2


def test_notes_of_many_runs_leave_one_lock_behind(tmp_path: Path) -> None:
    for _ in range(3):
        notes.add(tmp_path / write_run(tmp_path), "seen")
    assert len([path for path in (tmp_path / ".partial").iterdir() if path.is_file()]) == 1
