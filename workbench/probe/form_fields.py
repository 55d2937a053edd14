"""A probe's settings as fields of a form, told from its Config alone."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ..errors import UsageError
from .contract import Probe
from .setting_names import FILES

Kind = Literal["flag", "choice", "text", "file", "line"]


@dataclass(frozen=True)
class Field:
    """One setting: what kind of input it takes, what it may be, and its explanation."""

    name: str
    kind: Kind
    help: str
    options: tuple[str, ...] = ()
    """What a choice offers, or the built-in names of a setting that else takes a text of one's own."""
    optional: bool = False


def fields_of(probe: Probe) -> list[Field]:
    """The fields of a probe's settings, in their order.

    A setting is a flag, one of some words, numbers, or a text; raises `UsageError` for any other, because what a
    visitor types into a form must not become a path or whatever else its type would make of it.
    """
    return [_field(name, info, probe) for name, info in probe.Config.model_fields.items()]


def _field(name: str, info: FieldInfo, probe: Probe) -> Field:
    inner, optional = _plain(info.annotation)
    said = info.description or ""
    if inner is bool and not optional:
        return Field(name, "flag", _sentence(said))
    if get_origin(inner) is Literal and all(isinstance(value, str) for value in get_args(inner)):
        return Field(name, "choice", _sentence(said), get_args(inner), optional)
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    if inner is str and extra.get("format") == "text":
        return Field(name, "text", _sentence(said), (), optional)
    if inner is str:
        # A text may name a file, and visitors name no files: they choose among the names that the probe itself knows.
        known = [info.default, *(preset.get(name) for preset in probe.presets.values()), *(info.examples or ())]
        options = tuple(dict.fromkeys(value for value in known if isinstance(value, str)))
        return Field(name, "file" if name in FILES else "choice", _sentence(said), options, optional)
    if not _is_safe(inner):
        raise UsageError(
            f"the probe {probe.name!r} has the setting {name!r} of a type that no form takes ({info.annotation}); make "
            "it bool, int, float, a Literal, a tuple or list of these, or str (one of the names in its default, its "
            'presets and its examples; a text of one\'s own with json_schema_extra={"format": "text"})'
        )
    return Field(
        name, "line", " ".join((_sentence(said), _sentence(_takes(inner, optional, info)))).strip(), (), optional
    )


def _is_safe(inner: Any) -> bool:
    """Whether a line that a visitor typed can become nothing but numbers, flags and words of a fixed list."""
    if inner in (bool, int, float) or get_origin(inner) is Literal:
        return True
    if get_origin(inner) is Annotated:
        return _is_safe(get_args(inner)[0])
    parts = [part for part in get_args(inner) if part not in (Ellipsis, type(None))]
    several = get_origin(inner) in (tuple, list, Union, types.UnionType)
    return several and bool(parts) and all(_is_safe(part) for part in parts)


def _sentence(said: str) -> str:
    return f"{said[:1].upper()}{said[1:].rstrip('.')}." if said else ""


def _plain(annotation: Any) -> tuple[Any, bool]:
    """A type without its None, and whether it had one."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return (rest[0] if len(rest) == 1 else Union[tuple(rest)]), len(rest) < len(get_args(annotation))  # noqa: UP007
    return annotation, False


def _takes(inner: Any, optional: bool, info: FieldInfo) -> str:
    word = {int: "a whole number", float: "a number"}.get(inner, "")
    if get_origin(inner) in (tuple, list):
        word = "numbers with commas between them"
    signs = (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"))
    bounds = [
        f"{said} {getattr(part, sign):g}" for part in info.metadata for sign, said in signs if hasattr(part, sign)
    ]
    return " ".join([word, *bounds, *(["or nothing"] if optional else [])]).strip()


def display_value(field: Field, value: Any) -> Any:
    """The value of a setting as its input shows it."""
    if field.kind == "flag":
        return bool(value)
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(str(part) for part in value)
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict) else str(value)


def check(probe: Probe, preset: str, typed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings that differ from the preset's, and what is wrong with any, by name; under "" what is wrong between them.

    `typed` holds what the inputs show; a `Path` in it is a text that was kept for the visitor.
    """
    before = probe.Config(**probe.presets[preset])
    fields = {field.name: field for field in fields_of(probe)}
    given: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in typed.items():
        if value == display_value(fields[name], getattr(before, name)):
            continue
        try:
            given[name] = _read(fields[name], value, probe.Config)
        except ValueError as error:
            problems[name] = str(error)
    try:
        probe.Config(**{**probe.presets[preset], **given})
    except ValidationError as error:
        for item in error.errors(include_url=False):
            name = str(item["loc"][0]) if item["loc"] else ""
            problems.setdefault(name if name in fields else "", _say(item["msg"]))
    return given, problems


def _say(message: str) -> str:
    said = message.removeprefix("Value error, ").replace("Input should be", "Must be").split(", unable to parse")[0]
    return _sentence(said)


def _read(field: Field, value: Any, config: type[BaseModel]) -> Any:
    """What was typed, in the type of its setting; raises `ValueError` saying what it takes."""
    if isinstance(value, Path) and field.kind == "file":
        return str(value)
    if field.kind in ("choice", "file"):
        # The page offers no other, but a browser may send anything.
        if value == "" and field.optional:
            return None
        if value not in field.options:
            raise ValueError(f"Must be one of {', '.join(field.options)}.")
        return value
    if field.kind != "line":
        return None if value == "" and field.optional else value
    text = str(value).strip()
    if not text:
        if field.optional:
            return None
        raise ValueError("A value is needed.")
    adapter: TypeAdapter[Any] = TypeAdapter(config.model_fields[field.name].annotation)  # type: ignore[arg-type]
    said = ""
    for candidate in _candidates(text):
        try:
            return adapter.validate_python(candidate)
        except ValidationError as error:
            said = said or _say(error.errors(include_url=False)[0]["msg"])
    raise ValueError(said)


def _candidates(text: str) -> list[Any]:
    """What a text may stand for: JSON, a list with commas, the text itself."""
    found: list[Any] = [[part.strip() for part in text.strip("[]()").split(",") if part.strip()], text]
    try:
        return [json.loads(text), *found]
    except ValueError:
        return [*found] if "," in text else found[::-1]
