"""What differs between runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PARTS = ("preset", "spec.seed", "spec.resolved", "model", "data", "environment", "status")


@dataclass(frozen=True)
class Difference:
    """A field of the record that is not the same in all runs, and its value in each (None: not there)."""

    path: str
    values: Sequence[Any]


def differences(records: Sequence[Mapping[str, Any]], parts: Iterable[str] = PARTS) -> list[Difference]:
    """Fields of settings, model, data and environment that differ, in the order of the parts."""
    found = []
    for part in parts:
        flat = [dict(_flatten(_get(record, part), part)) for record in records]
        for path in dict.fromkeys(path for one in flat for path in one):
            values = [one.get(path) for one in flat]
            if any(value != values[0] for value in values):
                found.append(Difference(path, values))
    return found


def plain(value: Any) -> str:
    """A value of a record as text; texts stay as they are."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _get(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _flatten(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}")
    elif isinstance(value, list) and (value or path == "data") and all(isinstance(item, Mapping) for item in value):
        for item in value:
            yield from _flatten({k: v for k, v in item.items() if k != "name"}, f"{path}.{item.get('name', '')}")
    else:
        yield path, value
