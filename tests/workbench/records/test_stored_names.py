"""What the storage format would read back as something else is refused before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from workbench.probe.run_context import StagedRunContext
from workbench.progress import Reporter
from workbench.records import results

VALUES = {
    "f": np.array([0.0, 1.0, np.nan]),
    "i": np.array([0, 1, 2]),
    "b": np.array([False, True, True]),
    "U": np.array(["a", "", "NaN"]),
}


def data(values: Any = VALUES["f"], coordinate: dict[str, Any] | None = None, **attrs: Any) -> xr.Dataset:
    attrs = {"units": "1", "description": "a number", **attrs}
    return xr.Dataset(
        {"margin": ("position", values, attrs)}, coords={"position": ("position", np.arange(3), coordinate or {})}
    )


@pytest.mark.parametrize(
    "attrs",
    [
        {"scale_factor": 2.0}, {"add_offset": 10}, {"missing_value": 1.0}, {"_FillValue": 0.0}, {"dtype": "bool"},
        {"_Unsigned": "true"}, {"coordinates": "margin"}, {"grid_mapping": "x"}, {"_private": 1},
        {"units": "days since 2000-01-01"}, {"units": "tokens since the needle"},
    ],
)  # fmt: skip
def test_names_that_the_format_keeps_are_refused(attrs: dict[str, Any]) -> None:
    with pytest.raises(results.SchemaError, match=r"storage format"):
        results.check(xr.DataTree(data(**attrs)))
    if "units" not in attrs:
        with pytest.raises(results.SchemaError, match=r"storage format"):
            results.check(xr.DataTree(data(coordinate=attrs)))


def test_so_is_what_this_version_of_xarray_takes_for_an_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    own = xr.decode_cf

    def later(dataset: xr.Dataset) -> xr.Dataset:
        kept = dataset["kept"].copy()
        kept.attrs.pop("packing", None)
        return own(dataset.assign(kept=kept))

    monkeypatch.setattr(xr, "decode_cf", later)
    with pytest.raises(results.SchemaError, match=r"'packing' of 'margin'"):
        results.check(xr.DataTree(data(packing="dense")))


@pytest.mark.parametrize("kind", VALUES)
def test_whatever_passes_is_read_back_as_it_was(kind: str, tmp_path: Path) -> None:
    attrs = {"units": "seconds", "calendar": "none", "note": "plain", "name": "x", "fill_value": 3, "bounds": "0 to 1"}
    whole = data(VALUES[kind], **attrs).assign_attrs(dtype="float32", source="here")
    results.check(xr.DataTree(whole))
    results.write_tree(xr.DataTree(whole), tmp_path / "data.zarr")
    back = results.read_tree(tmp_path / "data.zarr").to_dataset()
    assert back.identical(whole) and back["margin"].dtype.kind == kind


def test_a_dataset_says_no_coordinates_and_a_group_has_a_small_name() -> None:
    with pytest.raises(results.SchemaError, match="'coordinates'"):
        results.check(xr.DataTree(data().assign_attrs(coordinates="margin")))
    for name in ("zarr.json", "a b", ".x"):
        with pytest.raises(results.SchemaError, match="is not a small word"):
            results.check(xr.DataTree.from_dict({"/": xr.Dataset(), f"/{name}": data()}))


def test_a_text_that_ends_with_nul_is_refused() -> None:
    with pytest.raises(results.SchemaError, match="NUL"):
        results.check(xr.DataTree(data(np.array(["a\0", "b", "c"], dtype=object))))


def test_a_stage_is_held_to_the_same(tmp_path: Path) -> None:
    context = StagedRunContext(0, Reporter(), tmp_path, "key")
    with pytest.raises(results.SchemaError, match="scale_factor"):
        context.stage("first", lambda: data(scale_factor=2.0))
    assert not (tmp_path / "stages").exists()


def test_words_that_mean_nothing_elsewhere_stay_texts_in_a_table(session, at: Path) -> None:
    import workbench as wb
    from tests.fixtures.plugin.mean_logits import MeanLogits

    table = pd.DataFrame({"word": ["None", "NA", "nan", "null", "x"], "number": [1.0, 2.0, np.nan, 4.0, 5.0]})

    class Words(MeanLogits):
        def run(self, session, config, context):
            outcome = super().run(session, config, context)
            outcome.tables["words"] = table
            return outcome

    run = wb.run(Words(), session, preset="smoke", runs=at / "runs", progress=False)
    pd.testing.assert_frame_equal(run.tables["words"], table, check_dtype=False)
