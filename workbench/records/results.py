"""The written schema of results: an `xarray.DataTree` with reserved dims, units and meanings.

`docs/results.md` says the same for readers.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WorkbenchError
from ..formatting import csv_safe
from ..version import __version__
from . import stored_names
from .record import ModelInfo

if TYPE_CHECKING:
    import pandas as pd
    import torch
    import xarray as xr

DIMS: dict[str, str] = {
    "layer": "block of the model, from 0",
    "head": "query head within a layer, from 0",
    "kv_head": "key-value head within a layer, from 0",
    "query": "position that attends",
    "key": "position that is attended to",
    "position": "position of a token in its sequence, from 0",
    "token": "entry of the vocabulary, or one token of a text",
    "example": "one item of the data",
    "segment": "stretch of a sequence",
    "seed": "seed of a repetition",
    "sample": "one random draw, such as one control set",
    "step": "step of a training or of a generation",
    "feature": "one coordinate of a vector",
    "class": "one label of a classification",
    "condition": "one of the compared ways to run the model",
    "distance": "tokens between a query and a key",
    "depth": "place of an item in its context, 0 at the start and 1 at the end",
    "length": "tokens of a sequence",
    "count": "how many of something, such as ablated heads",
    "bin": "one interval of a histogram",
}
"""Dims with one meaning everywhere; another dim needs a coordinate with a `description`."""

_COUNTED = ("layer", "head", "kv_head", "query", "key", "position")
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def variable(
    dims: str | Sequence[str], values: Any, units: str, meaning: str
) -> tuple[str | Sequence[str], Any, dict[str, str]]:
    """A variable as `xarray.Dataset` takes it, with the units and the description that the schema asks for.

    >>> import xarray as xr
    >>> data = xr.Dataset({"loss": variable("step", [2.0, 1.5], "nats", "cross-entropy of the next token")})
    >>> data["loss"].attrs["units"]
    'nats'
    """
    return dims, values, {"units": units, "description": meaning}


class SchemaError(WorkbenchError):
    """A result that does not follow the written schema."""


def check(tree: xr.DataTree) -> None:
    """Raise `SchemaError` with everything in the tree that breaks the schema.

    >>> import xarray as xr
    >>> share = xr.DataArray([0.2, 0.7], {"layer": [0, 1]}, attrs={"units": "1", "description": "share of tokens"})
    >>> check(xr.DataTree(xr.Dataset({"share": share})))
    >>> check(xr.DataTree(xr.Dataset({"share": share.drop_vars("layer")})))
    Traceback (most recent call last):
    workbench.records.results.SchemaError: the result breaks the schema: /: the dim 'layer' has no coordinate
    """
    import xarray as xr

    if not isinstance(tree, xr.DataTree):
        raise SchemaError(f"a result is an xarray.DataTree, not {type(tree).__name__}")
    wrong = [f"{node.path}: {said}" for node in tree.subtree for said in _complaints(node.to_dataset())]
    wrong += [f"the group {node.name!r} is not a small word" for node in tree.descendants if not _small(node.name)]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise SchemaError("the result breaks the schema: " + "; ".join(wrong[:5]) + more)


def _complaints(data: xr.Dataset) -> Iterator[str]:
    for name in data.dims:
        if not _small(name):
            yield f"the dim {name!r} is not a small word"
        elif name not in data.coords:
            yield f"the dim {name!r} has no coordinate"
        elif name not in DIMS and not data[name].attrs.get("description"):
            yield f"the dim {name!r} is not a reserved one, so its coordinate needs a `description`"
        elif name in _COUNTED and (data[name].dtype.kind not in "iu" or bool((data[name] < 0).any())):
            yield f"the coordinate {name!r} counts from 0, but its values are {data[name].dtype}"
        elif name in _COUNTED and not data.indexes[name].is_unique:
            yield f"the coordinate {name!r} repeats a value"
    for label, variable in data.variables.items():
        if not _small(label):
            yield f"the variable {label!r} is not a small word"
        if variable.dtype.kind not in "biufUSTO" or (variable.dtype.kind == "O" and not _texts(variable)):
            yield f"{label!r} holds {variable.dtype}, not numbers, truth values or texts"
    for label, array in data.data_vars.items():
        lacking = [word for word in ("units", "description") if not isinstance(array.attrs.get(word), str)]
        if lacking:
            yield f"{label!r} has no {' and no '.join(f'`{word}`' for word in lacking)} in its attrs"
    for attrs in (data.attrs, *(variable.attrs for variable in data.variables.values())):
        try:
            json.dumps(attrs, allow_nan=False)
        except (TypeError, ValueError) as error:
            yield f"attrs that JSON cannot hold ({error})"
    yield from stored_names.complaints(data)


def _small(name: object) -> bool:
    return isinstance(name, str) and _NAME.match(name) is not None


def check_stored(data: xr.Dataset) -> None:
    """Raise `SchemaError` for a dataset that would not be read back as it is."""
    if wrong := list(stored_names.complaints(data)):
        raise SchemaError("; ".join(wrong[:5]))


def _texts(variable: xr.Variable) -> bool:
    return all(isinstance(value, str) for value in variable.values.flat)


def stamp(tree: xr.DataTree, probe: str, model: ModelInfo, seed: int, created: str) -> xr.DataTree:
    """A copy of the tree whose root says where it came from."""
    stamped = tree.copy()
    stamped.attrs.update(
        created=created,
        library="workbench",
        library_version=__version__,
        probe=probe,
        seed=seed,
        model=model.id,
        fingerprint=model.fingerprint or "",
        engine=model.engine or "",
        dtype=model.dtype or "",
        attention=model.attention or "",
    )
    return stamped


@contextmanager
def _quiet() -> Iterator[None]:
    """Consolidated metadata are wanted here, although the zarr 3 specification does not name them yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        yield


def _portable(data: xr.Dataset) -> xr.Dataset:
    """Texts as variable-length strings: zarr 3 has no settled type for those of fixed length."""
    fixed = {name: array.astype(object) for name, array in data.variables.items() if array.dtype.kind in "UT"}
    return data.assign({name: (array.dims, array.values, array.attrs) for name, array in fixed.items()})


def _plain(data: xr.Dataset) -> xr.Dataset:
    """Texts as numpy's ordinary `str`, whatever they were stored as."""
    texts = {name: array for name, array in data.variables.items() if array.dtype.kind in "TO"}
    return data.assign(
        {name: (array.dims, array.values.astype(object).astype(str), array.attrs) for name, array in texts.items()}
    )


def write_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a tree as zarr version 3 with consolidated metadata."""
    with _quiet(), _files(path) as store:
        tree.map_over_datasets(_portable).to_zarr(store, mode="w", zarr_format=3, consolidated=True)


def write_dataset(data: xr.Dataset, path: Path) -> None:
    """Write one dataset the same way."""
    with _quiet(), _files(path) as store:
        _portable(data).to_zarr(store, mode="w", zarr_format=3, consolidated=True)


@contextmanager
def _files(path: Path) -> Iterator[Any]:
    """A store in memory whose parts become the files of a folder when the block ends.

    Zarr would read what lies in the folder before each of its many small files, and let a thread write every one.
    """
    from zarr.storage import MemoryStore

    parts: dict[str, Any] = {}
    yield MemoryStore(parts)
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    for name, content in parts.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


def read_tree(path: Path) -> xr.DataTree:
    """Read a tree into memory; raises `WorkbenchError` if it is missing or damaged."""
    import xarray as xr

    try:
        with _quiet(), xr.open_datatree(path, engine="zarr", chunks=None) as tree:
            return tree.load().map_over_datasets(_plain)
    except Exception as error:
        raise WorkbenchError(f"the data in {path} cannot be read: {type(error).__name__}: {error}") from error


def read_dataset(path: Path) -> xr.Dataset:
    """Read one dataset into memory; raises `WorkbenchError` if it is missing or damaged."""
    import xarray as xr

    try:
        with _quiet(), xr.open_zarr(path, chunks=None) as data:
            return _plain(data.load())
    except Exception as error:
        raise WorkbenchError(f"the data in {path} cannot be read: {type(error).__name__}: {error}") from error


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, safe to open in a spreadsheet."""
    guarded = table.copy()
    for column in range(guarded.shape[1]):
        if guarded.dtypes.iloc[column].kind not in "biufcmM":
            guarded.isetitem(column, [csv_safe(value) for value in guarded.iloc[:, column].astype(object)])
    guarded.columns = [csv_safe(str(name)) for name in guarded.columns]
    guarded.to_csv(path, index=False, lineterminator="\n")


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write named tensors as safetensors."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def differences(first: xr.DataTree, second: xr.DataTree, rtol: float, atol: float) -> list[dict[str, Any]]:
    """The variables in which two results differ by more than a tolerance; NaN equals NaN.

    A difference is a dict with `variable`, `why` and, for numbers of equal shape, `largest`: the largest absolute one.

    >>> import xarray as xr
    >>> one, two = (xr.DataTree(xr.Dataset({"loss": ("step", [3.0, last])})) for last in (1.0, 1.5))
    >>> differences(one, two, rtol=1e-4, atol=1e-6)
    [{'variable': '/loss', 'why': 'beyond the tolerance', 'largest': 0.5}]
    """
    import numpy as np

    def variables(tree: xr.DataTree) -> dict[str, Any]:
        return {
            f"{node.path.rstrip('/')}/{name}": variable
            for node in tree.subtree
            for name, variable in node.to_dataset(inherit=False).variables.items()
        }

    found: list[dict[str, Any]] = []
    ours, theirs = variables(first), variables(second)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            found.append({"variable": name, "why": f"only in the {'first' if name in ours else 'second'}"})
            continue
        one, two = ours[name].values, theirs[name].values
        if ours[name].dims != theirs[name].dims or one.shape != two.shape:
            found.append({"variable": name, "why": f"shape {one.shape} against {two.shape}"})
        elif one.dtype.kind not in "iuf" or two.dtype.kind not in "iuf":
            if not np.array_equal(one, two):
                found.append({"variable": name, "why": f"{int((one != two).sum())} of {one.size} values differ"})
        elif not np.allclose(one, two, rtol=rtol, atol=atol, equal_nan=True):
            apart = np.abs(one.astype(float) - two.astype(float))
            largest = float(np.nanmax(apart)) if np.isfinite(apart).any() else None
            found.append({"variable": name, "why": "beyond the tolerance", "largest": largest})
    return found
