"""What differs between runs: settings, model, data, environment, status, headlines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from ..errors import UsageError
from ..html_table import Bundle, bundle
from .describe import digits, number, plain
from .record import Headline, Record


class Missing(Enum):
    """What stands for a field that a record does not have, which is not the same as one that holds nothing."""

    MISSING = "–"


MISSING = Missing.MISSING
PARTS = ("settings", "model", "data", "environment")
"""What a run was made from."""


class _Field(NamedTuple):
    """A field of the record with all in it, the part it belongs to, and what its names begin with in one table."""

    part: str
    path: str
    label: str = ""


_FIELDS = (
    _Field("settings", "probe"),
    _Field("settings", "preset"),
    _Field("settings", "spec.seed"),
    _Field("settings", "spec.clock"),
    _Field("settings", "spec.resolved", "setting "),
    _Field("model", "model", "model "),
    _Field("data", "data", "data "),
    _Field("environment", "environment.packages", "package "),
    _Field("environment", "environment.git", "git "),
    _Field("environment", "environment", "environment "),
    _Field("status", "status"),
)
"""In this order; what has a line of its own is not told again with the field around it."""
_STATE = "model.state_sha256"
_LIBRARIES = ("torch", "transformers", "peft")
"""Packages whose versions decide what a model's modules hold beside their weights."""


@dataclass(frozen=True)
class Difference:
    """A field of the record that is not the same in all runs, and its value in each."""

    part: str
    name: str
    """The field within its part: a setting, a package, `adapter.id`."""
    label: str
    """The field as a reader calls it where all parts stand in one table."""
    path: str
    values: tuple[Any, ...]

    @property
    def texts(self) -> list[str]:
        """The values in words."""
        return [_text(value) for value in self.values]

    @property
    def as_json(self) -> list[Any]:
        """The values as JSON has them, which has no other word than null for one that is not there."""
        return [None if value is MISSING else value for value in self.values]


class Comparison(dict[str, Any]):
    """What `compare` found, as `workbench compare --json` prints it; a notebook shows it as tables."""

    def __init__(self, found: Sequence[Difference], records: Sequence[Record]) -> None:
        self.differences = list(found)
        super().__init__(
            runs=[record.id for record in records],
            status=[record.status for record in records],
            **{part: {one.name: one.as_json for one in found if one.part == part} for part in PARTS},
            headlines=headlines(records),
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        rows = [("field", *self["runs"]), *((one.label, *one.texts) for one in self.differences)]
        quoted = [("headline", *self["runs"], "last − first")]
        for row in self["headlines"]:
            values = [MISSING.value if one is None else number(Headline.model_validate(one)) for one in row["runs"]]
            quoted.append((row["name"], *values, change(row["difference"])))
        same = [part for part in PARTS if not self[part]]
        said = [f"The same in all: {', '.join(same)}."] if same else []
        tables = [bundle("What differs", said, table=rows if len(rows) > 1 else ()), bundle("Headlines", table=quoted)]
        return {kind: "\n".join(one[kind] for one in tables) for kind in ("text/html", "text/plain")}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # IPython would write any dict its own way
        printer.text(self._repr_mimebundle_()["text/plain"])


def compare(records: Sequence[Record]) -> Comparison:
    """The differences between two or more runs.

    `settings`, `model`, `data` and `environment` map each name that differs to its values, one a run (null where a run
    has none). `headlines` has one entry a name with the headline of every run, the difference of the last to the first,
    and whether all intervals overlap (null where an interval is missing). Raises `UsageError` for fewer than two runs.
    """
    if len(records) < 2:
        raise UsageError("compare takes two or more runs")
    return Comparison(differences([record.model_dump(mode="json", by_alias=True) for record in records]), records)


def sources_that_differ(first: Record, second: Record) -> dict[str, list[str | None]]:
    """The data that two runs read and that are not the same, by name, with the two hashes."""
    one, two = (_by_name([source.model_dump() for source in record.data]) for record in (first, second))
    pairs = {name: [each.get(name, {}).get("sha256") for each in (one, two)] for name in one | two}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def differences(records: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Fields of settings, model, data, environment and status that differ, in this order.

    The hash of a model's state is left out where runs had other versions of the libraries, or none, as it depends on
    them.
    """
    own = {field.path for field in _FIELDS}
    if not _states_tell(records):
        own.add(_STATE)
    found = []
    for field in _FIELDS:
        for path, values in _leaves(field.path, [_get(record, field.path) for record in records], own):
            if any(value != values[0] for value in values):
                name = path.removeprefix(f"{field.path}.") if path != field.path else path.rpartition(".")[2]
                label = f"{field.label}{name.replace('.', ' ')}"
                name = f"git {name}" if field.path == "environment.git" else name
                found.append(Difference(field.part, name, label, path, tuple(values)))
    return found


def _states_tell(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether hashes of the models' states may be compared."""
    versions = [[_get(record, f"environment.packages.{name}") for name in _LIBRARIES] for record in records]
    same = all(each == versions[0] for each in versions)
    return same and all(_get(record, _STATE) not in (None, MISSING) for record in records)


def change(difference: float | None) -> str:
    """How far a headline went up or down, with its sign."""
    return "" if difference is None else f"+{digits(difference)}" if difference > 0 else digits(difference)


def _text(value: Any) -> str:
    return MISSING.value if value is MISSING else plain(value, none="nothing")


def _get(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return _by_name(value) if path == "data" else value


def _by_name(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sources of data by their names; a second one of a name is told apart by its number."""
    named: dict[str, Any] = {}
    for source in sources:
        name = key = str(source.get("name", ""))
        count = 1
        while key in named:
            count += 1
            key = f"{name} ({count})"
        named[key] = {field: value for field, value in source.items() if field != "name"}
    return named


def _leaves(path: str, values: Sequence[Any], own: set[str]) -> Iterator[tuple[str, Sequence[Any]]]:
    """The fields within a field, side by side, as far down as every record that has it holds fields in it."""
    held = [value for value in values if value is not MISSING]
    if not held or not all(isinstance(value, Mapping) for value in held):
        yield path, values
        return
    for key in dict.fromkeys(key for value in held for key in value):
        if (inner := f"{path}.{key}") not in own:
            yield from _leaves(
                inner, [MISSING if value is MISSING else value.get(key, MISSING) for value in values], own
            )


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
