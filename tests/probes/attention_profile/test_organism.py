"""The planted heads have closed forms, written down here from what each head does; the probe must return them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from workbench.models.registered import find
from workbench.probes.attention_profile.organism import HEADS, LENGTH, RECIPE, OrganismConfig
from workbench.progress import Reporter

TEXT, SINK, RECENT, BLOCK = 96, 4, 16, 16
SETTINGS: dict[str, Any] = {
    "n": 2,
    "length": TEXT,
    "sink": SINK,
    "recent": RECENT,
    "bins": 24,
    "rows": (-1, 40),
    "topk": 3,
}


def masses(head: dict[str, Any], i: int) -> dict[int, float]:
    """The attention of query `i` on each key it looks at, from what the head does."""
    kind, s, steps = head["kind"], math.exp(head["strength"]), head["steps"]
    if kind == "uniform":
        return dict.fromkeys(range(i + 1), 1 / (i + 1))
    if kind == "sink":
        return {j: (s if j == 0 else 1) / (s + i) for j in range(i + 1)}
    if kind in ("distance", "half", "anchor"):
        return {{"distance": max(i - steps, 0), "half": i // 2, "anchor": min(i, steps)}[kind]: 1.0}
    assert kind == "mixed"
    start, near = i // BLOCK * BLOCK, math.exp(head["local"])
    parts = {j: (s if j == 0 else 1.0) * (near if j >= start else 1.0) for j in range(i + 1)}
    total = sum(parts.values())
    return {j: part / total for j, part in parts.items()}


def expected(head: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every row statistic `[query]`, the attention each key receives `[key]`, and the mass on quarters of the text."""
    rows: dict[str, list[float]] = {
        name: [] for name in ("entropy", "normalised_entropy", "distance", "sink_mass", "recent_mass")
    }
    received, quarters = np.zeros(TEXT), np.zeros((TEXT, 4))
    for i in range(TEXT):
        weights = masses(head, i)
        entropy = -sum(p * math.log(p) for p in weights.values())
        rows["entropy"].append(entropy)
        rows["normalised_entropy"].append(entropy / math.log(i + 1) if i else math.nan)
        rows["distance"].append(sum(p * (i - j) for j, p in weights.items()))
        rows["sink_mass"].append(sum(p for j, p in weights.items() if j < SINK))
        rows["recent_mass"].append(sum(p for j, p in weights.items() if j >= SINK and i - j < RECENT))
        for j, p in weights.items():
            received[j] += p
            quarters[i, j * 4 // TEXT] += p
    found = {name: np.asarray(values) for name, values in rows.items()}
    return found | {
        "far_mass": 1 - found["sink_mass"] - found["recent_mass"],
        "received": received,
        "segment_mass": quarters,
    }


def closed(kind: str, head: dict[str, Any], i: int) -> float:
    """Textbook closed forms, so that the sums above are held against something too."""
    if kind == "uniform entropy":
        return math.log(i + 1)
    if kind == "sink entropy":
        s = math.exp(head["strength"])
        return math.log(s + i) - s / (s + i) * head["strength"]
    assert kind == "sink distance"
    return (math.exp(head["strength"]) * i + i * (i - 1) / 2) / (math.exp(head["strength"]) + i)


def planted(name: str) -> dict[str, dict[str, Any]]:
    folder = find(name).shipped
    assert folder is not None
    return json.loads((folder / "planted.json").read_text())["heads"]


@pytest.fixture(scope="module", params=["organism/attention-profile", "organism/attention-profile-null"])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    runs = tmp_path_factory.mktemp("runs")
    return request.param, wb.run("attention-profile", request.param, preset="smoke", runs=str(runs), **SETTINGS)


def test_every_statistic_of_every_head_is_its_closed_form(measured: tuple[str, Any]) -> None:
    name, run = measured
    profile, heads = run.data["profile"], run.data["heads"].sel(condition="text")
    bins = np.split(np.arange(TEXT), np.asarray(profile["query"].values)[1:])
    assert len(bins) == 24
    for place, head in planted(name).items():
        layer, index = map(int, place.split("."))
        want = expected(head)
        for statistic in ("entropy", "normalised_entropy", "distance", "sink_mass", "recent_mass", "far_mass"):
            binned = [np.nanmean(want[statistic][each]) for each in bins]
            found = profile[statistic].sel(layer=layer, head=index).values
            np.testing.assert_allclose(found, binned, atol=2e-5, rtol=2e-5, err_msg=f"{place} {statistic}")
            scored = heads[statistic].sel(layer=layer, head=index).values
            np.testing.assert_allclose(scored, want[statistic][48:].mean(), atol=2e-5, rtol=2e-5)
        received = run.data["received"]["received"].sel(layer=layer, head=index).values
        np.testing.assert_allclose(received, want["received"], atol=2e-5, rtol=2e-5, err_msg=place)
        shares = run.data["segments"]["segment_mass"].sel(layer=layer, head=index).values
        binned = np.stack([want["segment_mass"][each].mean(0) for each in bins])
        np.testing.assert_allclose(shares, np.stack([binned] * 2), atol=2e-5, rtol=2e-5, err_msg=place)


def test_top_keys_are_the_planted_ones(measured: tuple[str, Any]) -> None:
    name, run = measured
    top = run.data["top"]
    for place, head in planted(name).items():
        layer, index = map(int, place.split("."))
        for query in (40, 95):
            one = top.sel(layer=layer, head=index, query=query)
            weights = sorted(masses(head, query).items(), key=lambda item: -item[1])
            np.testing.assert_allclose(one["weight"].values[:, 0], weights[0][1], rtol=1e-5)
            if len(weights) == 1 or weights[0][1] > weights[1][1] * 1.01:
                assert (one["key"].values[:, 0] == weights[0][0]).all(), place


def test_headlines_are_the_means_of_the_closed_forms(measured: tuple[str, Any]) -> None:
    name, run = measured
    wants = [expected(head) for head in planted(name).values()]
    lines = {line["name"]: line for line in run.record["headline"]}
    for headline, statistic in {"mean_entropy": "entropy", "sink_mass": "sink_mass", "far_mass": "far_mass"}.items():
        value = np.mean([want[statistic][48:].mean() for want in wants])
        assert lines[headline]["value"] == pytest.approx(value, abs=1e-5)
        assert lines[headline]["low"] <= lines[headline]["value"] + 1e-9 <= lines[headline]["high"] + 2e-9
        assert lines[headline]["n"] == 2


def test_the_null_reads_uniform_where_the_organism_does_not(measured: tuple[str, Any]) -> None:
    name, run = measured
    entropy = run.data["heads"]["normalised_entropy"].sel(condition="text").mean("example").values
    even = np.isclose(entropy, 1.0, atol=1e-5)
    if name.endswith("-null"):
        assert even.all()
        return
    uniform = np.array([[HEADS[layer, head].kind == "uniform" for head in range(4)] for layer in range(3)])
    assert np.array_equal(even, uniform)
    sinks = run.data["heads"]["sink_mass"].sel(condition="text").mean("example").values
    assert sinks[1, 3] == pytest.approx(1.0, abs=1e-6)
    assert sinks[0, [2, 3]] == pytest.approx([0.0, 0.0], abs=1e-6), "decoys are as peaked, on other keys"


def test_sums_over_keys_agree_with_textbook_closed_forms() -> None:
    heads = planted("organism/attention-profile")
    for place, kind in (
        ("0.0", "uniform entropy"),
        ("0.1", "sink entropy"),
        ("0.1", "sink distance"),
        ("2.3", "sink entropy"),
    ):
        want = expected(heads[place])[kind.split()[1]]
        for i in (0, 1, 17, 95):
            assert want[i] == pytest.approx(closed(kind, heads[place], i), abs=1e-12)


def test_the_shipped_weights_are_what_the_recipe_makes(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for cut, name in ((False, "attention-profile"), (True, "attention-profile-null")):
        folder = tmp_path / name
        RECIPE.train(OrganismConfig(cut=cut), folder, 0, Reporter())
        shipped = find(f"organism/{name}").shipped
        assert shipped is not None
        made, kept = load_file(folder / "model.safetensors"), load_file(shipped / "model.safetensors")
        assert made.keys() == kept.keys()
        assert all(made[key].equal(kept[key]) for key in made)
        assert (folder / "planted.json").read_text() == (shipped / "planted.json").read_text()


def test_a_text_longer_than_the_learned_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(wb.UsageError, match=f"learned positions for {LENGTH} tokens"):
        wb.run("attention-profile", "organism/attention-profile", preset="smoke", runs=str(tmp_path), length=200)
