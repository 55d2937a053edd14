"""A record that was changed after it was written says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import workbench as wb
from workbench.records import store
from workbench.records.file_hashes import Finding, verify
from workbench.records.seal import unbroken


@pytest.fixture
def run(session: wb.Session, at: Path) -> wb.Run:
    return wb.run("mean-logits", session, preset="smoke", runs=at / "runs", progress=False)


def test_a_number_changed_in_the_record_is_found(run: wb.Run) -> None:
    path = run.folder / store.RECORD
    content = json.loads(path.read_text())
    assert len(content["record_sha256"]) == 64 and verify(run.folder, run.typed_record) == []
    content["headline"][0]["value"] += 1e-9
    path.write_text(json.dumps(content))
    assert verify(run.folder, store.read(run.folder)) == [Finding("record.json", "changed")]


def test_spaces_and_the_order_of_fields_do_not_count(run: wb.Run) -> None:
    path = run.folder / store.RECORD
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items())), indent=7, ensure_ascii=True))
    assert verify(run.folder, store.read(run.folder)) == []


def test_a_record_without_a_hash_is_of_an_earlier_version(run: wb.Run) -> None:
    content = json.loads((run.folder / store.RECORD).read_text())
    assert unbroken(json.dumps({**content, "record_sha256": None}))
    assert not unbroken(json.dumps({**content, "record_sha256": "0" * 64}))


def test_the_hash_is_anew_with_every_writing(run: wb.Run) -> None:
    record = store.read(run.folder)
    before = record.record_sha256
    record.limits.append("é, “quoted”, and a number: 1e-07")
    store.write_record(run.folder, record)
    again = store.read(run.folder)
    assert again.record_sha256 != before and verify(run.folder, again) == []


def test_the_command_says_what_it_covered(run: wb.Run, cli) -> None:
    said = cli("verify", run.folder)
    assert said.status == 0 and "and its record" in said.out
    path = run.folder / store.RECORD
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    said = cli("verify", run.folder)
    assert said.status == 1 and "changed: record.json" in said.out
