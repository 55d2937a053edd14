"""What every edit is: a frozen value that compares, prints itself in one line, and goes into a record as JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .sites import Site

if TYPE_CHECKING:
    from torch import Tensor

WHOLE = 4096
"""Up to this many numbers of a tensor go into JSON; of a larger one its shape and the hash of its bytes."""


@dataclass(frozen=True, eq=False, repr=False)
class EditValue:
    """The base of every edit."""

    def json(self) -> dict[str, Any]:
        """The edit as JSON can hold it: its kind, and what was given; `edits.of_json` reads it back.

        Tensors of more than 4096 numbers and functions are told by what names them, and cannot be read back.
        """
        given = {name: _plain(value) for name, value in self._given()}
        return {"edit": type(self).__name__, **given}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={_short(value)}" for name, value in self._given())
        return f"{type(self).__name__}({given})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    def __hash__(self) -> int:
        return hash(repr(self))

    def _given(self) -> list[tuple[str, Any]]:
        """The fields that are not at their default."""
        pairs = [(field.name, getattr(self, field.name), field.default) for field in fields(self)]
        return [(name, value) for name, value, default in pairs if not _same(value, default)]


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor, without importing torch for one that is not."""
    return hasattr(value, "requires_grad")


def _plain(value: Any) -> Any:
    if is_tensor(value):
        return _tensor(value.detach())
    if isinstance(value, Site):
        return str(value)
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {"items": [[_plain(key), _plain(one)] for key, one in value.items()]}
    if callable(value):
        return {"function": f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"}
    return value


def _tensor(value: Tensor) -> dict[str, Any]:
    told: dict[str, Any] = {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
    if value.numel() <= WHOLE:
        return told | {"values": value.tolist()}
    import torch

    raw = value.contiguous().cpu().view(torch.uint8).numpy().tobytes()
    return told | {"sha256": hashlib.sha256(raw).hexdigest()}


def read(value: Any) -> Any:
    """A field of an edit, from what `json()` wrote of it; raises `UsageError` where that only names it."""
    if isinstance(value, list):
        return tuple(read(one) for one in value)
    if not isinstance(value, dict):
        return value
    if "range" in value:
        return range(*value["range"])
    if "items" in value:
        return {read(key): read(one) for key, one in value["items"]}
    if "function" in value:
        raise UsageError(f"this edit is the function {value['function']}, which a record only names")
    if "values" not in value:
        raise UsageError(
            f"this edit holds a tensor of shape {value.get('shape')}, of which the record has only the hash"
        )
    import torch

    return torch.tensor(value["values"], dtype=getattr(torch, value["dtype"])).reshape(value["shape"])


def _short(value: Any) -> str:
    if is_tensor(value):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{value.item():.6g}" if value.ndim == 0 else f"tensor{list(value.shape)} {kind}"
    if isinstance(value, Site):
        return repr(str(value))
    if isinstance(value, tuple) and len(value) > 8:
        return f"({', '.join(_short(one) for one in value[:3])}, … {len(value)} in all)"
    if isinstance(value, tuple):
        return f"({', '.join(map(_short, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_short(key)}: {_short(one)}" for key, one in value.items()) + "}"
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return repr(value)


def _same(one: Any, other: Any) -> bool:
    if is_tensor(one) or is_tensor(other):
        if not (is_tensor(one) and is_tensor(other)) or one.shape != other.shape or one.dtype != other.dtype:
            return False
        return bool((one.detach().cpu() == other.detach().cpu()).all())
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
