"""How a file of the user's is read, whatever it holds: one set of errors for all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError


@dataclass(frozen=True)
class DataFile:
    """The content of a file, and where it came from."""

    source: str
    """As the settings name it."""
    setting: str
    name: str
    text: str
    sha256: str
    instead: str
    """What else could be given, for error messages."""

    def refuse(self, reason: str, where: str = "") -> UsageError:
        """The error that says what is wrong with this file, or with one part of it."""
        return UsageError(f"{self.setting} {self.source!r}{where}: {reason}; give {self.instead}")

    def json(self) -> Any:
        """The file as one JSON value; raises `UsageError` if it is none."""
        return self._parsed(self.text, "")

    def json_lines(self) -> Iterator[tuple[int, Any]]:
        """The number, from 1, and the JSON value of each line that is not empty; raises `UsageError` at one that is
        none.
        """
        for number, line in enumerate(self.text.splitlines(), start=1):
            if line.strip():
                yield number, self._parsed(line, f", line {number}")

    def _parsed(self, text: str, where: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise self.refuse(f"it is not JSON ({error})", where) from None


def read_file(source: str | Path, setting: str, instead: str, path: Path | None = None) -> DataFile:
    """Read a text in UTF-8; a byte order mark is no part of it.

    Args:
        source: what the setting was given; the file itself, unless `path` says where it lies.
        setting: the setting's name, for error messages.
        instead: what else the setting takes, for error messages.

    Raises:
        UsageError: for a file that is not there, cannot be read, or is not UTF-8.
    """
    file = Path(source) if path is None else path
    found = DataFile(str(source), setting, file.name, "", "", instead)
    try:
        raw = file.read_bytes()
        return DataFile(
            found.source, setting, file.name, raw.decode("utf-8-sig"), hashlib.sha256(raw).hexdigest(), instead
        )
    except OSError as error:
        raise found.refuse(f"it cannot be read ({error.strerror or type(error).__name__})") from None
    except UnicodeDecodeError:
        raise found.refuse("it is not UTF-8 text") from None
    except ValueError as error:  # a name that no file can have
        raise found.refuse(f"it cannot be read ({error})") from None
