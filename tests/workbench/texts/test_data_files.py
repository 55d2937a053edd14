"""Files of the user's: what they hold comes back, and whatever is wrong with one is one clear line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from workbench.errors import UsageError
from workbench.texts.data_files import read_file

INSTEAD = "a file of JSON lines, or 'needles'"


def test_a_file_is_read_with_its_name_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("Zürich\r\n".encode())
    found = read_file(path, "data", INSTEAD)
    assert (found.name, found.text) == ("text.txt", "Zürich\r\n")
    assert found.sha256 == hashlib.sha256("Zürich\r\n".encode()).hexdigest()
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_file(path, "data", INSTEAD).json() == [1]
    assert read_file("hub:owner/name", "data", INSTEAD, path).source == "hub:owner/name"


def test_lines_of_json_come_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n\n  \n[2]\n', encoding="utf-8")
    assert list(read_file(path, "data", INSTEAD).json_lines()) == [(1, {"a": 1}), (4, [2])]
    path.write_text("[1, 2]", encoding="utf-8")
    assert read_file(path, "data", INSTEAD).json() == [1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"data '.*file' ?: it cannot be read \(No such file or directory\); give a file of JSON lines"),
        (b"\xff\xfe\x00", r"data '.*file': it is not UTF-8 text; give a file of JSON lines"),
        (b"{}\n{", r"data '.*file', line 2: it is not JSON \(.*\); give a file of JSON lines"),
    ],
)
def test_what_is_wrong_is_said_the_same_way(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        list(read_file(path, "data", INSTEAD).json_lines())


def test_a_folder_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read .*; give a file of JSON lines"):
        read_file(tmp_path, "haystack", INSTEAD)
    with pytest.raises(UsageError, match="cannot be read"):
        read_file("a\0b", "haystack", INSTEAD)
    with pytest.raises(UsageError, match="it is not JSON"):
        (tmp_path / "x").write_text("nothing")
        read_file(tmp_path / "x", "data", INSTEAD).json()
