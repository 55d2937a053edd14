"""A record carries the hash of itself, so that a number changed in it later does not pass for what was computed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .record import Record

FIELD = "record_sha256"


def sealed(record: Record) -> str:
    """The record as the JSON text that is written, with its hash in it."""
    content = json.loads(record.model_dump_json(exclude={FIELD}))
    return json.dumps({**content, FIELD: _hash(content)}, indent=2, ensure_ascii=False) + "\n"


def unbroken(text: str | bytes) -> bool:
    """Whether a record's text says what was written; one of an earlier version, which has no hash, is taken as it is.

    Spaces and the order of fields do not count.
    """
    content = json.loads(text)
    told = content.pop(FIELD, None)
    return told is None or told == _hash(content)


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
