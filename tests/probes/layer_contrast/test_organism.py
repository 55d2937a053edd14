"""The probe points at the block that overwrites, contrast restores exactly what it overwrote; nothing in the null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench as wb
from workbench.errors import UsageError
from workbench.models.registered import find
from workbench.probes.layer_contrast import organism

SMALL = {
    "n": 40, "n_validation": 20, "n_conflicts": 3, "n_conflicts_validation": 2, "alphas": (1.0,), "omegas": (0.3,),
    "gammas": (0.0,), "rates": (2.0,), "tokens": 2, "damage": 1, "heads": "none",
}  # fmt: skip
HEADLINES = ("conflict_em_base", "conflict_em_cad", "noconflict_em_base", "noconflict_em_cad")


def _planted(name: str) -> dict[str, Any]:
    folder = find(f"organism/{name}").folder
    return dict(json.loads((folder / "planted.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module", params=["layer-contrast", "layer-contrast-null"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, dict[str, Any]]:
    run = wb.run("layer-contrast", f"organism/{request.param}", runs=tmp_path_factory.mktemp("runs"), **SMALL)
    return request.param, run, _planted(request.param)


def _right(run: Any, method: str) -> dict[str, bool]:
    """Whether each test question's best answer comes first under a method."""
    scored = run.data["choices"].to_dataset()
    values = scored["mc"].sel(condition=method, scoring="softmax", metric="mc1").values
    return dict(zip(scored["question"].values.tolist(), (values == 1).tolist(), strict=True))


def test_the_planted_block_is_found_and_nothing_in_the_null(found: tuple[str, Any, dict[str, Any]]) -> None:
    name, run, planted = found
    assert run.data.attrs["block"] == (planted["block"] if planted["block"] is not None else -1)
    lead = run.data["layers"]["lead"].values
    lost = (lead[:, :-1] > 0).any(1) & (lead[:, -1] <= 0)
    asked = run.data["choices"]["question"].values
    assert {str(each) for each in asked[lost]} == set(planted["overwritten"]) & {str(each) for each in asked}
    line = run.headline["answers_overwritten"]
    assert (line.value > 0.3 and line.low > 0) if name == "layer-contrast" else line.value == 0


def test_contrast_restores_exactly_what_was_overwritten(found: tuple[str, Any, dict[str, Any]]) -> None:
    _, run, planted = found
    base = _right(run, "base")
    assert len(base) > 20
    assert {question for question, right in base.items() if not right} == set(planted["overwritten"]) & set(base)
    for method in ("dola", "dola_static"):
        assert all(_right(run, method).values()), method
    # below the planted block all layers have the right answer, and contrast with them has nothing to restore
    assert _right(run, "dola_low") == base


def test_headlines_have_the_names_of_the_methods_with_interval_and_control(
    found: tuple[str, Any, dict[str, Any]],
) -> None:
    _, run, _ = found
    lines = {line["name"]: line for line in run.record["headline"]}
    for method in run.data["choices"]["condition"].values:
        for name in (f"mc1_{method}", f"mc2_{method}", f"mc3_{method}", f"mc2_{method}_unnormalised"):
            assert lines[name]["low"] <= lines[name]["value"] <= lines[name]["high"]
            assert lines[name]["n"] == run.data["choices"].sizes["example"]
            assert lines[name]["control"]["value"] is not None and lines[name]["split"] == "test"
    assert set(HEADLINES) <= set(lines)
    assert all(check["passed"] for check in run.record["checks"])
    tuned, tested = (set(run.data[group]["question"].values) for group in ("validation", "choices"))
    assert not tuned & tested


def test_an_amateur_that_is_the_same_leaves_answers_of_one_length_alike(
    found: tuple[str, Any, dict[str, Any]],
) -> None:
    """The organism has no words for the instruction that the amateur is given, so both say the same."""
    _, run, _ = found
    scored = run.data["choices"]["score"].sel(condition="icd", scoring="unnormalised").values
    assert np.nanmax(np.abs(scored)) < 1e-3
    damage = run.data["damage"]["kl"]
    assert float(damage.sel(condition="cad").mean()) < 1e-4


def test_every_figure_and_choice_can_be_drawn(found: tuple[str, Any, dict[str, Any]]) -> None:
    _, run, _ = found
    assert list(run.figures) == ["choices", "scoring", "context", "early_exit", "divergence", "damage"]
    for figure in run.figures.values():
        assert len(figure.data)
        assert figure.plotly().data
    details = run.details(question=1, answered=0)
    assert [table.name for table in details.tables] == ["scores", "answers"]
    assert len(run.summary) == 4


def test_a_shipped_organism_is_what_its_recipe_makes(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for name, cut in (("layer-contrast", False), ("layer-contrast-null", True)):
        folder = find(f"organism/{name}").folder
        organism.construct(organism.OrganismConfig(cut=cut), tmp_path / name, 0, wb.progress.Reporter())
        made, kept = (load_file(path / "model.safetensors") for path in (tmp_path / name, folder))
        assert made.keys() == kept.keys()
        assert all(bool((made[key] - kept[key]).abs().max() < 1e-5) for key in made)
        assert (folder / "model.safetensors").stat().st_size < 2_500_000


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"layers": [99]}, r"hidden states 0 to 7 .* not 99"),
        ({"data": "nowhere.csv"}, "data 'nowhere.csv': it cannot be read"),
        ({"conflicts": "nowhere.jsonl"}, "conflicts 'nowhere.jsonl': it cannot be read"),
        ({"amateur": "adapter/none-such"}, "no adapter 'adapter/none-such'"),
        ({"heads": "nowhere.csv"}, "heads 'nowhere.csv': it cannot be read"),
        ({"alphas": []}, "alphas are from 0 to 10"),
    ],
)
def test_what_cannot_be_used_is_said(settings: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=match):
        wb.run("layer-contrast", "organism/layer-contrast", preset="smoke", runs=tmp_path, **settings)
