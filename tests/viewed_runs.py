"""Finished runs with data for the tests of what a reader sees: three of organisms, and one of a very long text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import workbench as wb
from tests.sample_figures import HOSTILE
from workbench import figures
from workbench.probe.registry import PROBES
from workbench.records import results, store
from workbench.runs.run import Run

LONG = 32_768
LAYERS, HEADS, BINS, KEY_BINS, RANKS = 4, 4, 32, 512, 6
QUERIES = (8_191, LONG - 1)


def all_of(folder: Path) -> dict[str, Any]:
    """The four runs of a folder by their names, made where they are not there yet."""
    written = folder / "names.json"
    if not written.exists():
        runs = {"roles": head_roles(folder), "profile": attention_profile(folder)}
        runs |= {"long": long_profile(folder, runs["profile"]), "knob": context_knob(folder)}
        written.write_text(json.dumps({name: run.id for name, run in runs.items()}))
    return {"folder": folder, **{name: Run(folder / id) for name, id in json.loads(written.read_text()).items()}}


def head_roles(runs: Path) -> Run:
    """Head roles of the organism with planted retrieval heads."""
    return wb.run("head-roles", "organism/head-roles", preset="smoke", runs=runs, progress=False, length=128)


def attention_profile(runs: Path, seed: int = 0) -> Run:
    """The attention profile of its organism, with two chosen queries."""
    return wb.run(
        "attention-profile",
        "organism/attention-profile",
        preset="smoke",
        runs=runs,
        progress=False,
        seed=seed,
        rows=(40, -1),
    )


def context_knob(runs: Path) -> Run:
    """The context knob of its organism, over three blocks: the direction is found after the second."""
    return wb.run(
        "context-knob",
        "organism/context-knob",
        preset="smoke",
        runs=runs,
        progress=False,
        layers=(0, 1, 2),
        n=6,
        n_train=16,
        n_validation=4,
        steps=100,
        random=2,
    )


def long_profile(runs: Path, short: Run) -> Run:
    """A run of the attention profile as one of a text of 32,768 tokens would lie on disk, some of them hostile.

    Its record is that of `short`, its arrays are drawn at random in the shapes that the probe writes.
    """
    record = short.typed_record.model_copy(deep=True)
    record.id = store.new_id(record.probe, f"long {LONG}")
    folder = runs / record.id
    (folder / "figures").mkdir(parents=True)
    data = long_data(short)
    results.write_tree(data, folder / "data.zarr")
    record.figures = []
    for figure in PROBES.get(record.probe).figures(data, record):
        figures.save(figure, folder / "figures")
        record.figures.append(figure.name)
    record.files = store.hash_files(folder)
    store.write_record(folder, record)
    return Run(folder)


def long_data(short: Run) -> Any:
    """The tree of that run."""
    import xarray as xr

    rng = np.random.default_rng(0)
    old = short.data

    def many(coordinate: Any) -> int:
        return len(coordinate[1] if isinstance(coordinate, tuple) else coordinate)

    def like(node: str, sizes: dict[str, Any], given: dict[str, np.ndarray]) -> xr.Dataset:
        """A dataset with the variables of a node of the short run in other sizes."""
        source = old[node].to_dataset()
        made = {}
        for name, variable in source.data_vars.items():
            shape = tuple(many(sizes[dim]) if dim in sizes else source.sizes[dim] for dim in variable.dims)
            values = given.get(str(name))
            if values is None:
                values = rng.random(shape).astype(np.float32) if variable.dtype.kind == "f" else np.zeros(shape, int)
            assert values.shape == shape, (name, values.shape, shape)
            made[name] = (variable.dims, values, variable.attrs)
        coords = {str(name): value for name, value in source.coords.items() if not set(value.dims) & set(sizes)}
        return xr.Dataset(made, coords=coords | sizes)

    layer, head = np.arange(LAYERS), np.arange(HEADS)
    example = np.arange(1)
    base = {"layer": layer, "head": head}
    query, key = (np.linspace(0, LONG, bins + 1).astype(int) for bins in (BINS, KEY_BINS))
    words = np.array([f" word{place % 97}" for place in range(LONG)], dtype=object)
    words[100:110] = HOSTILE
    words[::50] = "\n"
    keys = rng.integers(0, 8_000, (1, LAYERS, HEADS, len(QUERIES), RANKS))
    keys[..., 0] = 102
    weights = np.sort(rng.dirichlet(np.ones(RANKS + 1), keys.shape[:-1])[..., :RANKS])[..., ::-1].astype(np.float32)
    received = rng.pareto(1.5, (1, LONG)).astype(np.float32)
    received[0, 0] = 4_000.0
    last_query = ("query", query[1:] - 1, {"description": "last query of the bin"})
    last_key = ("key", key[1:] - 1, {"description": "last key of the bin"})
    seen = {
        "joint_key": np.tile(keys[:, 0, 0], (1, 1, 3))[..., : old["top"].sizes["place"]],
        "joint_token": np.full((1, len(QUERIES), old["top"].sizes["place"]), HOSTILE),
        "query_token": np.full((1, len(QUERIES)), HOSTILE),
    }
    rank = ("rank", np.arange(RANKS), {"description": "place among the heaviest keys, from 0"})
    tree = xr.DataTree.from_dict(
        {
            "/heads": like("heads", base | {"example": example}, {}),
            "/profile": like("profile", base | {"query": query[:-1], "last_query": last_query}, {}),
            "/segments": like("segments", base | {"example": example, "query": query[:-1]}, _segments(old)),
            "/received": like("received", base | {"key": key[:-1], "last_key": last_key}, {}),
            "/positions": like(
                "positions",
                {"example": example, "position": np.arange(LONG)},
                {"received": received, "first_text": words.astype(str)},
            ),
            "/top": like(
                "top",
                base | {"example": example, "query": np.array(QUERIES), "rank": rank},
                {"key": keys, "weight": weights, **seen},
            ),
        }
    )
    tree.attrs.update(old.attrs | {"text_length": LONG, "scored_from": LONG // 2, "scored_to": LONG, "context": LONG})
    results.check(tree)
    return tree


def _segments(old: Any) -> dict[str, np.ndarray]:
    """What of the segments cannot be drawn at random."""
    segments = old["segments"].to_dataset().isel(example=slice(0, 1))
    return {name: segments[name].values for name in ("label", "tokens", "uniform_flow")}
