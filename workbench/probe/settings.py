"""Settings of a probe or a recipe: read from `name=value`, checked against its Config."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..errors import UnknownName, UsageError

C = TypeVar("C", bound=BaseModel)


def parse(pairs: Iterable[str], config: type[BaseModel]) -> dict[str, Any]:
    """Read `name=value` texts into values of the types that `config` wants.

    A value is JSON (`3`, `true`, `null`, `[1, 2]`), a plain text, or a list with commas (`1,2,3`).
    Raises `UnknownName` for a setting that does not exist and `UsageError` for a value of the wrong type.

    >>> config = wb.PROBES.get("head-roles").Config
    >>> parse(["length=2048", "counts=1,2,4"], config)
    {'length': 2048, 'counts': (1, 2, 4)}
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip()
        if not sign or not name:
            raise UsageError(f"a setting is written name=value, not {pair!r}; for example n=20")
        if name in settings:
            raise UsageError(f"the setting {name!r} is given twice")
        _known(name, config)
        settings[name] = _value(name, text, config)
    return settings


def resolve(config: type[C], presets: Mapping[str, Mapping[str, Any]], preset: str, given: Mapping[str, Any]) -> C:
    """The settings of a run: the defaults, over them the preset, over them what was given.

    Raises `UnknownName` for a preset or setting that does not exist and `UsageError` for a wrong value.
    """
    if preset not in presets:
        raise UnknownName("preset", preset, presets)
    for name in given:
        _known(name, config)
    try:
        return config(**{**presets[preset], **given})
    except ValidationError as error:
        raise UsageError(_say(error)) from error


def describe(config: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of the settings."""
    return config.model_json_schema()


def type_name(name: str, config: type[BaseModel]) -> str:
    """The type of one setting in the words of Python."""
    annotation = config.model_fields[name].annotation
    return annotation.__name__ if type(annotation) is type else str(annotation).replace("typing.", "")


def _known(name: str, config: type[BaseModel]) -> None:
    if name not in config.model_fields:
        raise UnknownName("setting", name, config.model_fields)


def _value(name: str, text: str, config: type[BaseModel]) -> Any:
    field = config.model_fields[name]
    adapter: TypeAdapter[Any] = TypeAdapter(field.annotation)  # type: ignore[arg-type]
    candidates: list[Any] = [text, [part.strip() for part in text.split(",")]]
    try:
        candidates.insert(0, json.loads(text))
    except ValueError:
        if text.lower() == "none":
            candidates.insert(0, None)
    for value in candidates:
        try:
            return adapter.validate_python(value)
        except ValidationError:
            continue
    raise UsageError(f"setting {name!r} takes {type_name(name, config)}, not {text!r}")


def _say(error: ValidationError) -> str:
    """Every complaint of pydantic in one line."""
    parts = []
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"])
        said = item["msg"].removeprefix("Value error, ")
        said = said[:1].lower() + said[1:]
        parts.append(f"setting {where!r} is {item['input']!r}: {said}" if where else said)
    return "; ".join(parts)
