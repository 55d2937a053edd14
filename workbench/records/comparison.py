"""What differs between runs: settings, model, environment, headlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .record import Headline, Record


def compare(records: Sequence[Record]) -> dict[str, Any]:
    """The differences between two or more runs.

    `settings`, `model` and `environment` map each name that differs to its values, one a run (null where a run has
    none). `headlines` has one entry a name with the headline of every run, the difference of the last to the first, and
    whether all intervals overlap (null where an interval is missing).
    """
    dumped = [record.model_dump(mode="json", by_alias=True) for record in records]
    return {
        "runs": [record.id for record in records],
        "status": [record.status for record in records],
        "settings": differing(
            [
                {"probe": one["probe"], "preset": one["preset"], "seed": one["spec"]["seed"], **one["spec"]["resolved"]}
                for one in dumped
            ]
        ),
        "model": differing([one["model"] for one in dumped]),
        "data": differing([{source["name"]: source["sha256"] for source in one["data"]} for one in dumped]),
        "environment": differing([_environment(one["environment"]) for one in dumped]),
        "headlines": headlines(records),
    }


def differing(parts: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The names whose values are not the same in all parts, in order."""
    names = dict.fromkeys(name for part in parts for name in part)
    rows = {name: [part.get(name) for part in parts] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _environment(environment: dict[str, Any]) -> dict[str, Any]:
    """The environment as one flat table: packages and the commit by their names."""
    flat = {name: value for name, value in environment.items() if name not in ("packages", "git")}
    return {
        **flat,
        **environment["packages"],
        **{f"git {name}": value for name, value in environment["git"].items()},
    }


def headlines(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Every headline that any of the runs has, side by side."""
    named = [{headline.name: headline for headline in record.headline} for record in records]
    table = []
    for name in dict.fromkeys(name for found in named for name in found):
        row = [found.get(name) for found in named]
        values = [None if headline is None else headline.value for headline in row]
        first, last = values[0], values[-1]
        table.append(
            {
                "name": name,
                "runs": [None if headline is None else headline.model_dump(mode="json") for headline in row],
                "difference": None if first is None or last is None else last - first,
                "overlap": _overlap(row),
            }
        )
    return table


def _overlap(row: Sequence[Headline | None]) -> bool | None:
    ends = [(one.low, one.high) for one in row if one is not None and one.low is not None and one.high is not None]
    if len(ends) < len(row):
        return None
    return max(low for low, _ in ends if low is not None) <= min(high for _, high in ends if high is not None)
