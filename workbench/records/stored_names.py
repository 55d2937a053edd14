"""Names that the storage of arrays keeps for itself: what bears one would be read back as something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

ENCODING = frozenset(("scale_factor", "add_offset", "missing_value", "dtype", "coordinates", "grid_mapping"))
"""Attributes by which the CF conventions, and xarray with them, say how numbers were packed; and all with `_` first."""


def complaints(data: xr.Dataset) -> Iterator[str]:
    """What of a dataset would not be read back from zarr as it is."""
    if "coordinates" in data.attrs:
        yield "the attr 'coordinates' tells the storage format which variables are coordinates: rename it"
    for label, variable in data.variables.items():
        named = sorted(name for name in map(str, variable.attrs) if name in ENCODING or name.startswith("_"))
        if named:
            listed = ", ".join(map(repr, named))
            yield f"{label!r} has attrs that the storage format takes for how numbers are packed, {listed}: rename them"
        elif "since" in str(variable.attrs.get("units", "")):
            units = variable.attrs["units"]
            yield f"{label!r} has units that the storage format takes for dates, {units!r}: say them otherwise"
        elif (what := _read_otherwise(label, variable)) is not None:
            yield what
        if variable.dtype.kind in "OTU" and any(str(value).endswith("\0") for value in variable.values.flat):
            yield f"{label!r} has a text that ends with the character NUL, which is lost in storage: take it off"


def _read_otherwise(label: Any, variable: xr.Variable) -> str | None:
    """Whether xarray reads another variable where this one is stored, told by one entry of it."""
    import xarray as xr

    one = variable.isel({dim: slice(0, 1) for dim in variable.dims})
    data = xr.Dataset({"kept": (one.dims, one.values, one.attrs)})
    try:
        back = xr.decode_cf(data)["kept"].variable
    except Exception as error:
        return f"the attrs of {label!r} are taken for an encoding and cannot be read back ({error}): rename them"
    if back.attrs == one.attrs and back.dtype.kind == one.dtype.kind:
        return None
    lost = ", ".join(sorted(repr(name) for name in one.attrs if back.attrs.get(name) != one.attrs[name])) or "attrs"
    return f"{lost} of {label!r} would be taken for an encoding by the storage format: rename what is so called"
