"""Run folders: whole files only, honest status, runs found by any unambiguous name."""

from __future__ import annotations

import json
import os
import socket
import threading
import time

import pytest

from workbench.errors import UnknownName, UsageError, WorkbenchError
from workbench.records import heartbeat, store
from workbench.records.heartbeat import Heart
from workbench.records.record import Environment, ModelInfo, Record


def record(name: str = "20260101T000000Z-a-probe-00000001", **changes) -> Record:
    return Record(
        id=name,
        probe="a-probe",
        created="2026-01-01T00:00:00Z",
        started="2026-01-01T00:00:00Z",
        model=ModelInfo(id="m"),
        environment=Environment(python="3.11", platform="x"),
        **changes,
    )


def begin(runs, name="20260101T000000Z-a-probe-00000001", **changes):
    return store.create(runs, record(name, **changes), lambda folder: Heart(folder, lambda: None))


def test_a_run_appears_with_its_record_and_its_heartbeat(tmp_path):
    folder, heart = begin(tmp_path / "runs")
    assert store.read(folder).status == "started"
    assert sorted(path.name for path in folder.iterdir()) == ["heartbeat", "record.json"]
    heart.start()
    heart.stop()
    assert store.read(folder).status == "interrupted"
    assert json.loads((folder / "record.json").read_text())["status"] == "started"


def test_the_record_has_the_fixed_fields():
    given = json.loads(record().model_dump_json())
    fixed = {
        "schema", "id", "status", "probe", "preset", "created", "started", "finished", "model", "spec", "data",
        "environment", "plan", "headline", "checks", "limits", "stats", "files", "error",
    }  # fmt: skip
    assert fixed <= given.keys()
    assert given["schema"] == 1 and given["error"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 2**22 + 1},
        {"boot": "another"},
        {"born": 1.0},
        {"pid": None},
    ],
)
def test_a_heartbeat_of_a_process_that_is_gone_does_not_live(tmp_path, changes):
    folder, _ = begin(tmp_path)
    assert heartbeat.alive(folder)
    (folder / "heartbeat").write_text(json.dumps({**heartbeat.identity(), **changes}))
    assert not heartbeat.alive(folder)


def test_a_heartbeat_of_another_machine_lives_as_long_as_it_is_fresh(tmp_path):
    folder, _ = begin(tmp_path)
    (folder / "heartbeat").write_text(json.dumps({**heartbeat.identity(), "host": f"not-{socket.gethostname()}"}))
    assert store.read(folder).status == "started"
    old = time.time() - 2 * heartbeat.STALE
    os.utime(folder / "heartbeat", (old, old))
    assert store.read(folder).status == "interrupted"


def test_a_heart_beats_and_notices_that_its_folder_was_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.05)
    lost = threading.Event()
    folder, heart = store.create(tmp_path, record(), lambda path: Heart(path, lost.set))
    os.utime(folder / "heartbeat", (1, 1))
    heart.start()
    deadline = time.monotonic() + 10
    while (folder / "heartbeat").stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (folder / "heartbeat").stat().st_mtime > 2 and heart.peak_bytes > 2**20 and not lost.is_set()
    (folder / "heartbeat").write_text("another's")
    assert lost.wait(10) and heart.taken
    heart.stop()
    assert (folder / "heartbeat").read_text() == "another's"


def test_a_failed_write_leaves_what_was_there(tmp_path):
    folder, _ = begin(tmp_path)
    store.put(folder, "a.txt", lambda path: path.write_text("whole"))

    def fail(path):
        path.write_text("ha")
        raise OSError("no")

    with pytest.raises(OSError):
        store.put(folder, "a.txt", fail)
    assert (folder / "a.txt").read_text() == "whole"
    assert list((tmp_path / ".partial").rglob("*.txt")) == []


def test_a_folder_replaces_a_folder(tmp_path):
    folder, _ = begin(tmp_path)
    for text in ("one", "two"):
        store.put(folder, "part", lambda path, text=text: (path.mkdir(), (path / text).write_text(text)))
    assert [path.name for path in (folder / "part").iterdir()] == ["two"]


def test_nothing_is_written_into_a_folder_that_is_gone(tmp_path):
    with pytest.raises(WorkbenchError, match="gone"):
        store.put(tmp_path / "nowhere", "a.txt", lambda path: path.write_text("x"))


def test_hashes_cover_every_file_but_the_record_the_heartbeat_and_stages(tmp_path):
    folder, _ = begin(tmp_path)
    store.put(folder, "b/c.txt", lambda path: path.write_text("abc"))
    store.put(folder, "stages/x.txt", lambda path: path.write_text("abc"))
    assert store.hash_files(folder) == {"b/c.txt": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b'{"schema": 1, "id"', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "no schema number"),
        (b"{}", "no schema number"),
        (b'{"schema": true}', "no schema number"),
        (b'{"schema": 1, "id": "x"}', "damaged: probe"),
        (b'{"schema": 99}', "install a newer workbench"),
    ],
)
def test_a_damaged_record_is_one_clear_error_and_hides_no_other(tmp_path, content, said):
    good, _ = begin(tmp_path)
    bad, _ = begin(tmp_path, "20260102T000000Z-a-probe-00000002")
    (bad / "record.json").write_bytes(content)
    with pytest.raises(WorkbenchError, match=said):
        store.read(bad)
    found = store.listing(tmp_path)
    assert [one.id for one in found.records] == [good.name]
    assert [one.path for one in found.unreadable] == [bad]


def test_a_missing_record_is_named(tmp_path):
    good, _ = begin(tmp_path)
    (good / "record.json").unlink()
    (tmp_path / "notes").mkdir()
    found = store.listing(tmp_path)
    assert found.records == [] and [one.path for one in found.unreadable] == [good]
    with pytest.raises(WorkbenchError, match=r"no record\.json"):
        store.read(good)


def test_fields_of_a_later_version_are_kept(tmp_path):
    folder, _ = begin(tmp_path)
    given = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**given, "mood": "good", "stats": {"joules": 3}}))
    read = store.as_dict(store.read(folder))
    assert read["mood"] == "good" and read["stats"]["joules"] == 3


def test_runs_are_found_by_path_id_and_beginning(tmp_path, monkeypatch):
    one, _ = begin(tmp_path / "runs")
    two, _ = begin(tmp_path / "runs", "20260102T000000Z-a-probe-00000002")
    monkeypatch.chdir(tmp_path)
    assert store.find(str(one)) == one
    assert store.find(f"{one}/record.json") == one
    assert store.find(two.name).name == two.name
    assert store.find("20260102").name == two.name
    with pytest.raises(UsageError, match="2 runs begin"):
        store.find("2026")
    with pytest.raises(UnknownName, match="did you mean"):
        store.find("20260102T000000Z-a-probe-00000003")
    with pytest.raises(UsageError, match="is not a run"):
        store.find("runs/other")
    with pytest.raises(UsageError, match="name a run"):
        store.find("")


def test_what_a_dead_process_left_is_swept_and_what_lives_is_not(tmp_path):
    living, _ = begin(tmp_path)
    dead, heart = begin(tmp_path, "20260102T000000Z-a-probe-00000002")
    heart.stop()
    for folder in (living, dead):
        (tmp_path / ".partial" / folder.name / "x").mkdir(parents=True)
    young = tmp_path / ".partial" / "20260103T000000Z-a-probe-00000003"
    young.mkdir()
    begin(tmp_path, "20260104T000000Z-a-probe-00000004")
    assert {path.name for path in (tmp_path / ".partial").iterdir()} == {living.name, young.name}
    old = time.time() - 2 * heartbeat.STALE
    os.utime(young, (old, old))
    begin(tmp_path, "20260105T000000Z-a-probe-00000005")
    assert {path.name for path in (tmp_path / ".partial").iterdir()} == {living.name}


def test_reading_writes_nothing(tmp_path):
    dead, heart = begin(tmp_path)
    heart.stop()
    (tmp_path / ".partial" / dead.name / "x").mkdir(parents=True)
    (tmp_path / "20260102T000000Z-a-probe-00000002").mkdir()
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    assert len(store.listing(tmp_path).records) == len(list(store.records(tmp_path, "a-probe"))) == 1
    assert store.find("20260101", tmp_path) == dead and store.has_run(tmp_path, dead.name)
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]} == before


def test_records_of_a_probe_are_read_one_by_one_and_no_other_is(tmp_path, monkeypatch):
    for number, probe in enumerate(["a-probe", "another", "a-probe", "another-probe", "a-probe"], start=1):
        made = record(f"2026010{number}T000000Z-{probe}-0000000{number}")
        made.probe = probe
        store.create(tmp_path, made, lambda path: Heart(path, lambda: None))
    (tmp_path / "20260101T000000Z-a-probe-00000001").rename(tmp_path / "kept")
    read, looked = store.read, []
    monkeypatch.setattr(store, "read", lambda folder: looked.append(folder.name) or read(folder))
    found = store.records(tmp_path, "a-probe")
    assert next(found).id[-1] == "1" and looked == ["kept"], "a name that tells nothing is looked into"
    assert next(found).id[-1] == "5" and len(looked) == 2
    assert [one.id[-1] for one in store.listing(tmp_path, "another").records] == ["2"]
    assert not any("another-probe" in name for name in looked)


@pytest.mark.parametrize("name", ["", ".", "..", ".partial", "../x", "a/b", "x\0y", "nothing"])
def test_a_name_from_a_browser_leads_nowhere_else(tmp_path, name):
    begin(tmp_path / "runs")
    (tmp_path / "x").mkdir()
    (tmp_path / "runs" / ".partial").mkdir(exist_ok=True)
    assert not store.has_run(tmp_path / "runs", name)


def test_only_one_process_takes_a_run_over(tmp_path):
    folder, heart = begin(tmp_path)
    other = Heart(folder, lambda: None)
    with pytest.raises(WorkbenchError, match="still running"):
        store.claim(folder, other)
    heart.stop()
    store.claim(folder, other)
    with pytest.raises(WorkbenchError, match="still running"):
        store.claim(folder, Heart(folder, lambda: None))


def test_a_place_that_cannot_hold_runs_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is not a folder"):
        begin(tmp_path / "file")
