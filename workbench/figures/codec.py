"""A figure as JSON and back, exactly: numbers keep their values and grids their type."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ..errors import UnknownName, UsageError
from . import spec
from .spec import MARK_NAMES, Axis, FigureSpec, Mark, Panel

SCHEMA = 1
_MARKS = {name: kind for kind, name in MARK_NAMES.items()}


def to_dict(figure: FigureSpec) -> dict[str, Any]:
    """The figure as what JSON can hold; a number that is missing (NaN) is null, an infinite one is a text."""
    return {
        "schema": SCHEMA,
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "alt": figure.alt,
        "columns": figure.columns,
        "panels": [
            {
                "title": panel.title,
                "x": _part(panel.x),
                "y": _part(panel.y),
                "marks": [{"mark": MARK_NAMES[type(mark)], **_part(mark)} for mark in panel.marks],
            }
            for panel in figure.panels
        ],
    }


def from_dict(read: dict[str, Any]) -> FigureSpec:
    """The figure that `to_dict` wrote; `UsageError` if it is no figure or from a later version."""
    if not isinstance(read, dict) or "panels" not in read:
        raise UsageError("this is no figure: its JSON has no panels")
    if read.get("schema") != SCHEMA:
        raise UsageError(f"this figure has schema {read.get('schema')!r}; this workbench reads schema {SCHEMA}")
    try:
        panels = [
            Panel(
                marks=[_mark(mark) for mark in panel["marks"]],
                x=_axis(panel["x"]),
                y=_axis(panel["y"]),
                title=panel["title"],
            )
            for panel in read["panels"]
        ]
        rest = {key: read[key] for key in ("name", "title", "caption", "alt", "columns")}
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"this figure's JSON is incomplete: {error}") from error
    return FigureSpec(panels=panels, **rest)


def dumps(figure: FigureSpec) -> str:
    """The figure as JSON text, the same bytes for the same figure."""
    return json.dumps(to_dict(figure), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def loads(text: str) -> FigureSpec:
    """The figure in this JSON text; `UsageError` if there is none."""
    try:
        read = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"this is no figure: not JSON ({error})") from error
    return from_dict(read)


def _part(part: Any) -> dict[str, Any]:
    written = {field.name: _plain(getattr(part, field.name)) for field in fields(part)}
    if isinstance(part, spec.Heatmap):
        values = np.asarray(part.values)
        kept = values.dtype if values.dtype in (np.float32, np.float64) else np.dtype(np.float32)
        if np.issubdtype(values.dtype, np.integer):
            kept = np.dtype(np.float64)
        written["values"] = _plain(values.astype(kept))
        written["dtype"] = kept.name
    return written


def _plain(value: Any) -> Any:
    """Numbers and arrays as JSON; a float32 is written with the fewest digits that name it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return [_plain(item) for item in np.asarray(value)]
    if isinstance(value, np.float32 | np.float16):
        value = float(str(value))
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    return value


_NUMBERS = {"ticks", "limits", "values", "x", "y", "low", "high", "samples", "at", "outlined"}
_OTHERS = {
    *("label", "tick_labels", "log", "reversed", "dim", "scale", "pooled", "secondary", "names", "dims", "across"),
    "tokens",
}
assert {field.name for kind in (Axis, *MARK_NAMES) for field in fields(kind)} <= _NUMBERS | _OTHERS, (
    "JSON has no word for a number that is none: say of every field whether it holds numbers"
)


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return math.nan if value is None else float(value) if isinstance(value, str) else value


def _read(kind: type[Any], written: dict[str, Any]) -> Any:
    read: dict[str, Any] = {}
    for field in fields(kind):
        value = written[field.name]
        if value is not None and field.name in _NUMBERS:
            value = _number(value)
            if field.name == "limits":
                value = tuple(value)
            if field.name == "outlined":
                value = [tuple(cell) for cell in value]
        read[field.name] = value
    if kind is spec.Heatmap:
        read["values"] = np.asarray(read["values"], dtype=written["dtype"])
    return kind(**read)


_HEAD = re.compile(r"(\d+)\.(\d+)\Z")


def _axis(written: dict[str, Any]) -> Axis:
    """An axis; in figures from before axes named their dimension, the label up to its unit did."""
    axis: Axis = _read(Axis, {"dim": str(written["label"]).split(" (")[0].strip(), **written})
    return axis


def _dims(names: Sequence[str] | None) -> dict[str, list[int]]:
    """The dimensions of points from before they had any: those of a head were named `layer.head`."""
    heads = [_HEAD.match(name) for name in names or ()]
    if not heads or not all(heads):
        return {}
    return {dim: [int(head[place]) for head in heads if head] for place, dim in enumerate(("layer", "head"), start=1)}


def _mark(written: dict[str, Any]) -> Mark:
    kind = written.get("mark", "")
    if kind not in _MARKS:
        raise UnknownName("mark", str(kind), _MARKS)
    if "muted" in written:  # the word of earlier figures
        written = {**written, "secondary": written["muted"]}
    if kind == MARK_NAMES[spec.Scatter]:
        written = {"dims": _dims(written["names"]), **written}
    mark: Mark = _read(_MARKS[kind], written)
    return mark
