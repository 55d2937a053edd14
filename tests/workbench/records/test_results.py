"""The schema of results: what it lets through, what it refuses, and that arrays come back as they were."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.records import results
from workbench.records.record import ModelInfo

ATTRS = {"units": "1", "description": "a number"}


def tree(**changes) -> xr.DataTree:
    data = xr.Dataset(
        {"score": (("layer", "head"), np.arange(6.0).reshape(2, 3), ATTRS)},
        {"layer": [0, 5], "head": [0, 1, 2], "name": ("head", ["a", "é<b>", ""])},
    )
    return xr.DataTree.from_dict({"/": data, "/part": data.rename(score="other")[["other"]]})


def test_what_follows_the_schema_passes():
    results.check(tree())


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda d: d.drop_vars("layer"), "'layer' has no coordinate"),
        (lambda d: d.assign_coords(layer=[0.0, 1.5]), "counts from 0"),
        (lambda d: d.assign_coords(layer=[-1, 0]), "counts from 0"),
        (lambda d: d.assign_coords(layer=[1, 1]), "repeats a value"),
        (lambda d: d.rename(head="circuit"), "not a reserved one"),
        (lambda d: d.rename(score="Score!"), "not a small word"),
        (lambda d: d.assign(score=d.score.assign_attrs(units=3)), "no `units`"),
        (lambda d: d.assign(score=d.score.drop_attrs()), "no `units` and no `description`"),
        (lambda d: d.assign(score=d.score.astype(complex)), "holds complex128"),
        (lambda d: d.assign(score=d.score.copy(data=np.full((2, 3), None))), "holds object"),
        (lambda d: d.assign_attrs(made_by={1, 2}), "attrs that JSON cannot hold"),
    ],
)
def test_what_breaks_the_schema_is_named(broken, said):
    with pytest.raises(results.SchemaError, match=said):
        results.check(xr.DataTree(broken(tree().to_dataset())))


def test_a_result_that_is_no_tree_is_refused():
    with pytest.raises(results.SchemaError, match="not Dataset"):
        results.check(tree().to_dataset())


def test_another_dim_passes_with_a_described_coordinate():
    data = tree().to_dataset().rename(head="circuit")
    data["circuit"].attrs["description"] = "a set of heads"
    results.check(xr.DataTree(data))


def test_arrays_come_back_as_they_were(tmp_path):
    before = tree()
    before["half"] = xr.Dataset({"x": ("layer", np.array([1, np.nan], np.float16), ATTRS)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.write_tree(before, tmp_path / "data.zarr")
        after = results.read_tree(tmp_path / "data.zarr")
    assert after.identical(before)
    assert after["half"].x.dtype == np.float16
    assert after["name"].dtype.kind == "U"


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), min_size=1, max_size=4
    )
)
def test_any_text_survives(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("texts") / "data.zarr"
    data = xr.Dataset({"text": ("example", texts, ATTRS)}, {"example": np.arange(len(texts))})
    results.write_dataset(data, path)
    assert results.read_dataset(path).text.values.tolist() == texts


def test_the_stamp_says_where_it_came_from():
    before = tree()
    stamped = results.stamp(
        before, "a-probe", ModelInfo(id="m", fingerprint="f", engine="hf"), 3, "2026-01-01T00:00:00Z"
    )
    assert stamped.attrs["model"] == "m" and stamped.attrs["seed"] == 3 and stamped.attrs["probe"] == "a-probe"
    assert not before.attrs


@pytest.mark.parametrize("damage", ["zarr.json", "score/zarr.json", "score/c/0/0"])
def test_damaged_arrays_are_one_clear_error(tmp_path, damage):
    results.write_tree(tree(), tmp_path / "data.zarr")
    file = tmp_path / "data.zarr" / damage
    file.write_bytes(file.read_bytes()[:5])
    if damage == "score/zarr.json":
        # Consolidated metadata at the root stand in for it.
        assert results.read_tree(tmp_path / "data.zarr").identical(tree())
        return
    with pytest.raises(WorkbenchError, match="cannot be read"):
        results.read_tree(tmp_path / "data.zarr")


def test_missing_arrays_are_one_clear_error(tmp_path):
    with pytest.raises(WorkbenchError, match="cannot be read"):
        results.read_tree(tmp_path / "nothing.zarr")


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    cells = ["=1+1", "+1", "-1", "@x", "\tx", "plain", "a=1"]
    table = pd.DataFrame({"text": cells, "=name": range(7), "mixed": [-1.5, "-x", None, 1, 2, 3, 4]})
    results.write_table(table, tmp_path / "t.csv")
    back = pd.read_csv(tmp_path / "t.csv")
    assert list(back.columns) == ["text", "'=name", "mixed"]
    assert back.text.tolist() == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "plain", "a=1"]
    assert back.mixed.tolist()[:2] == ["-1.5", "'-x"]
    assert table.text.tolist() == cells


def test_differences_name_what_differs():
    one, two = tree(), tree()
    assert results.differences(one, two, 0, 0) == []
    two["score"].values[1, 2] += 0.5
    two["part/other"].values[0, 0] = np.nan
    two["extra"] = xr.DataArray(1.0)
    found = {row["variable"]: row for row in results.differences(one, two, 1e-4, 1e-6)}
    assert found.keys() == {"/score", "/part/other", "/extra"}
    assert found["/score"]["largest"] == pytest.approx(0.5)
    assert found["/extra"]["why"] == "only in the second"
    assert results.differences(one, one.isel(layer=[0]), 0, 0)[0]["why"].startswith("shape")


def test_a_variable_carries_units_and_meaning() -> None:
    data = xr.Dataset({"loss": results.variable("step", [2.0, 1.5], "nats", "cross-entropy")}, {"step": [0, 1]})
    assert data["loss"].attrs == {"units": "nats", "description": "cross-entropy"}
    results.check(xr.DataTree.from_dict({"/": data}))


def test_what_is_written_is_what_zarr_writes_itself_and_replaces_what_was_there(at):
    texts = xr.Dataset({"said": ("example", np.array(["a", "bc", ""])), "empty": ("query", np.zeros(0))})
    whole = xr.DataTree.from_dict({"/": tree().to_dataset(), "/part/deep": texts})
    for name, write, written in (("tree", results.write_tree, whole), ("dataset", results.write_dataset, texts)):
        own, plain = at / name, at / f"{name}-plain"
        (own / "left").mkdir(parents=True)
        (own / "left" / "over").write_text("of another run")
        write(written, own)
        portable = written.map_over_datasets(results._portable) if name == "tree" else results._portable(written)
        with results._quiet():
            portable.to_zarr(plain, mode="w", zarr_format=3, consolidated=True)
        files = [
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in (own, plain)
        ]
        assert files[0] == files[1] and len(files[0]) >= 4
