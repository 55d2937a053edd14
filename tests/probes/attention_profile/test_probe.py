"""The probe on a small Llama: against eager attention, in chunks, beyond its context, and its pictures at 32k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from tests.conftest import eager, tiny
from workbench.figures.budget import check, points
from workbench.internals.layer_statistics import LayerChunk
from workbench.internals.session import Session
from workbench.kernels import AttentionStats
from workbench.probe.statistics import Interval
from workbench.probes.attention_profile import findings, probe
from workbench.probes.attention_profile.config import AttentionProfileConfig
from workbench.probes.attention_profile.data import tree
from workbench.probes.attention_profile.figures import draw
from workbench.probes.attention_profile.profile import Profile
from workbench.probes.attention_profile.texts import Text, Texts
from workbench.records.results import differences
from workbench.texts.vocabulary import word_tokenizer

SIZE = len(word_tokenizer(64))
SETTINGS: dict[str, Any] = {
    "n": 2,
    "length": 60,
    "sink": 2,
    "recent": 8,
    "bins": 6,
    "max_segments": 3,
    "rows": (-1, 20),
    "topk": 3,
}


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load((tiny("llama", vocab_size=SIZE), word_tokenizer(64)))


def run(session: Session, folder: Path, **settings: Any) -> Any:
    return wb.run("attention-profile", session, preset="smoke", runs=str(folder), **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def measured(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(session, tmp_path_factory.mktemp("runs"))


def test_profile_is_what_eager_attention_shows(measured: Any) -> None:
    model = eager("llama", vocab_size=SIZE)
    positions = measured.data["positions"]
    i, j = np.arange(60)[:, None], np.arange(60)
    found: dict[str, list[np.ndarray]] = {"entropy": [], "distance": [], "sink_mass": [], "received": [], "flow": []}
    for ids, segments in zip(positions["token_id"].values, positions["in_segment"].values, strict=True):
        with torch.no_grad():
            maps = model(torch.from_numpy(ids)[None], output_attentions=True).attentions
        p = np.stack([each[0].double().numpy() for each in maps])
        inside = (segments[:, None] == np.arange(3)).astype(float)
        found["entropy"].append(-(p * np.log(np.maximum(p, 1e-300))).sum(-1))
        found["distance"].append((p * np.maximum(i - j, 0)).sum(-1))
        found["sink_mass"].append(p[..., :2].sum(-1))
        found["received"].append(p.sum(2))
        found["flow"].append((inside.T @ (p @ inside).mean(1)) / inside.sum(0)[:, None])
    profile = measured.data["profile"]
    for name in ("entropy", "distance", "sink_mass"):
        binned = np.mean(found[name], axis=0).reshape(3, 4, 6, 10).mean(-1)
        np.testing.assert_allclose(profile[name].values, binned, atol=2e-5, rtol=2e-5)
        scored = np.stack(found[name])[..., 30:].mean(-1)
        np.testing.assert_allclose(
            measured.data["heads"][name].sel(condition="text").values, scored, atol=2e-5, rtol=2e-5
        )
    np.testing.assert_allclose(
        measured.data["received"]["received"].values, np.mean(found["received"], axis=0), atol=5e-5
    )
    np.testing.assert_allclose(measured.data["segments"]["flow"].values, np.stack(found["flow"]), atol=2e-5)
    np.testing.assert_allclose(positions["received"].values, np.stack(found["received"]).mean((1, 2)), atol=5e-5)


def test_headlines_have_intervals_and_controls(measured: Any) -> None:
    lines = {line["name"]: line for line in measured.record["headline"]}
    assert {"mean_entropy", "sink_mass", "recent_mass", "far_mass"} <= set(lines)
    for line in lines.values():
        assert line["low"] <= line["value"] <= line["high"] and line["n"] == 2
        assert line["control"]["name"] == "the same tokens in shuffled order" and line["control"]["n"] == 2
        assert line["control"]["low"] <= line["control"]["value"] <= line["control"]["high"]
    assert lines["sink_mass"]["value"] + lines["recent_mass"]["value"] + lines["far_mass"]["value"] == pytest.approx(
        1, abs=1e-5
    )
    heads = measured.data["heads"]
    for index, key in enumerate(("value", "control")):
        value = float(heads["far_mass"].isel(condition=index).mean(dtype=np.float64))
        said = lines["far_mass"][key] if key == "value" else lines["far_mass"][key]["value"]
        assert said == pytest.approx(value, abs=1e-6)
    assert all(check["passed"] for check in measured.record["checks"])


def test_shuffling_keeps_the_tokens_and_the_first_in_its_place() -> None:
    text = Text(np.arange(5, 50), np.zeros(45, dtype=np.int64), ("a",))
    other = probe._shuffled(text, np.random.default_rng(0))
    assert other.ids[0] == 5 and sorted(other.ids) == text.ids.tolist() and not np.array_equal(other.ids, text.ids)


def test_chunks_change_nothing(session: Session, measured: Any, tmp_path: Path) -> None:
    chunked = run(session, tmp_path, chunk=7)
    assert differences(measured.data, chunked.data, rtol=1e-4, atol=2e-5) == []


def test_beyond_the_trained_context_headlines_stay_within(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(
        "The old baker walked slowly to the market before noon. Nobody found a small letter near the park. " * 8
    )
    settings = {"data": str(path), "n": 1, "control": "none", "rows": (3,)}
    within, beyond = (run(session, tmp_path, length=length, **settings) for length in (64, 120))
    checks = {check["name"]: check for check in beyond.record["checks"]}
    assert checks["beyond the trained context"]["passed"] is False
    assert "beyond the trained context" not in {check["name"] for check in within.record["checks"]}
    assert any("proof of scale" in limit for limit in beyond.record["limits"])
    assert any("proof of scale" in sentence for sentence in beyond.record["summary"])
    for one, other in zip(within.record["headline"], beyond.record["headline"], strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-4, abs=1e-6), one["name"]
        assert one["split"] == other["split"] and one["low"] is one["high"] is one["level"] is None
        assert one["control"]["name"] == "a head that attends evenly to all keys it sees"


def test_only_the_layers_asked_for(session: Session, measured: Any, tmp_path: Path) -> None:
    one = run(session, tmp_path, layers=(1,))
    assert one.data["profile"]["layer"].values.tolist() == [1]
    expected = measured.data["profile"]["entropy"].sel(layer=[1]).values
    np.testing.assert_allclose(one.data["profile"]["entropy"].values, expected, rtol=1e-5)
    assert "of layers 1" in one.record["headline"][0]["method"]


def test_rows_outside_the_text_are_refused(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("The old baker walked slowly to the market.")
    with pytest.raises(wb.UsageError, match="not all within the text of 9 tokens"):
        run(session, tmp_path, data=str(path), length=None, rows=(40,))


def test_an_interval_over_texts_covers_their_mean() -> None:
    rng = np.random.default_rng(0)
    found = findings.interval(np.array([1.0, 2.0, 3.0, 4.0]), rng)
    assert isinstance(found, Interval)
    assert found.value == 2.5 and 1.2 < found.low < 2.0 and 3.0 < found.high < 3.8
    assert findings.interval(np.array([1.0]), rng) == 1.0


def test_figures_of_32k_tokens_stay_within_the_budget(session: Session) -> None:
    length, layers, heads = 32768, 30, 9
    config = AttentionProfileConfig(length=length, rows=(-1, 100))
    rng = np.random.default_rng(0)
    segments = np.arange(length) * 16 // length
    text = Text(rng.integers(2, SIZE, length), segments, tuple(f"{index}" for index in range(16)))
    profile = Profile(text, config, 8192)
    row = torch.full((1, heads, length), 0.25)
    stats = AttentionStats(
        entropy=row, distance=row, sink_mass=row, recent_mass=row, far_mass=2 * row,
        visible_keys=torch.arange(1, length + 1)[None, None],
        segment_mass=torch.full((1, heads, length, 16), 1 / 16), received=torch.rand(1, heads, length),
        topk_weight=torch.rand(1, heads, 2, 8), topk_index=torch.randint(0, 100, (1, heads, 2, 8)),
    )  # fmt: skip
    for layer in range(layers):
        profile.see(LayerChunk(layer, 0, stats))
    texts = Texts([text], "made", "0" * 64)
    data = tree(texts, [profile.dataset()], [], config, session, (4096, 8192))
    figures = draw(data)
    assert [figure.name for figure in figures] == ["grids", "curves", "received", "flow", "heads", "top_keys"]
    for figure in figures:
        check(figure)
    assert sum(points(mark) for figure in figures for panel in figure.panels for mark in panel.marks) < 1e5
    assert "trained for 64 of these 32,768" in figures[1].caption
