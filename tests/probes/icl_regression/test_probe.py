"""The probe finds the planted algorithm, with its distances, and nothing in the nulls; wrong use is told in words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import UsageError
from workbench.probe.run_context import StagedRunContext
from workbench.probes.icl_regression.asking import answers_to, label_sensitivity
from workbench.probes.icl_regression.metrics import implied_weights
from workbench.probes.icl_regression.organism import OrganismConfig, build
from workbench.probes.icl_regression.predictors import gradient_descent
from workbench.probes.icl_regression.probe import IclRegression
from workbench.probes.icl_regression.prompts import sample
from workbench.progress import Reporter
from workbench.runs.run import Run

NAMES = {
    "mspd_ols", "mspd_ridge", "mspd_gd", "spd_bayes", "probe_r2_weights", "probe_r2_moment", "probe_r2_control",
    "causal_effect", "causal_effect_random",
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    return wb.run("icl-regression", "organism/icl-regression", preset="smoke", runs=folder, progress=False)


def test_three_exact_steps_are_identified_as_three_steps(planted: Run) -> None:
    nearest = planted.data["nearest"].to_dataset()
    assert set(nearest["nearest"].values) == {"gd 0.02 ×3"}
    assert float(nearest["spd_high"].max()) <= 1e-8
    assert bool((nearest["margin_low"] > 0).all())
    phases = planted.data["phases"].to_dataset()
    assert phases["nearest"].values.tolist() == ["gd 0.02 ×3", "gd 0.02 ×3"]
    implied = planted.data["implied"].to_dataset()
    assert float(implied["ilwd"].sel(predictor="gd 0.02 ×3").max()) <= 1e-8
    assert float(implied["linearity_low"].min()) >= 1 - 1e-8
    assert "gd 0.02 ×3" in planted.summary[0]


def test_headlines_have_their_names_intervals_and_controls(planted: Run) -> None:
    assert set(planted.headline) == NAMES
    for line in planted.headline.values():
        assert line.value is not None and line.low is not None and line.high is not None
        assert line.low <= line.value <= line.high, line.name
        assert line.control is not None and line.control.value is not None
    # nearer than what says 0
    step = planted.headline["mspd_gd"]
    assert step.high is not None and step.control is not None and step.control.low is not None
    assert step.high < step.control.low
    # before the first step all of the way is left, and less after each
    effect = planted.data["exchange"].to_dataset()["effect"].sel(subspace="whole state")
    np.testing.assert_allclose(effect.sel(blocks=[0, 1]), 1.0, atol=1e-4)
    assert bool((effect.diff("blocks").sel(blocks=[2, 3]) < -0.1).all())
    assert all(check["passed"] for check in planted.record["checks"])
    assert {figure.name for figure in planted.figures.values()} >= {
        "errors",
        "nearest",
        "sweep",
        "encodings",
        "exchange",
    }


@pytest.mark.parametrize("name", ("icl-regression-null", "icl-shuffled"))
def test_a_learner_that_learnt_nothing_reads_as_none(name: str, tmp_path: Path) -> None:
    """A constant predictor, and one trained on labels that have nothing to do with their inputs."""
    probe = IclRegression()
    context = StagedRunContext(0, Reporter(), tmp_path, "")
    found = probe.run(wb.load(f"organism/{name}"), probe.Config(**probe.presets["smoke"]), context)
    assert set(found.data["nearest"].to_dataset()["nearest"].values) == {"none"}
    record: Any = SimpleNamespace(headline=found.headlines)
    assert "nothing is nearer than always saying 0" in probe.summary(found.data, record)[0]
    (line,) = (each for each in found.headlines if each.name == "mspd_ols")
    assert line.control is not None
    assert line.value == pytest.approx(line.control.value, rel=0.1), "as far from least squares as 0 is"


def test_implied_weights_of_a_black_box_are_its_own() -> None:
    session = wb.load(build(OrganismConfig(steps=2)))
    prompts = sample(8, 6, 4, np.random.default_rng(0))
    queries = torch.from_numpy(np.random.default_rng(1).standard_normal((8, 32, 4)))
    said = answers_to(session, prompts.x[:, :5], prompts.y[:, :5], queries, Reporter(), "")
    found, left = implied_weights(said, queries)
    weights = gradient_descent(0.02, 2).weights
    assert weights is not None
    torch.testing.assert_close(found, weights(prompts.x, prompts.y)[:, 5], rtol=1e-5, atol=1e-6)
    assert float(left.max()) < 1e-10


def test_label_sensitivities_are_those_of_finite_differences() -> None:
    session = wb.load("organism/icl-depth1")
    prompts = sample(3, 5, 4, np.random.default_rng(2))
    found = label_sensitivity(session, prompts.x, prompts.y)
    assert found.shape == (3, 4)
    for place in range(4):
        ends = []
        for sign in (1, -1):
            labels = prompts.y.clone()
            labels[:, place] += sign * 1e-2
            ends.append(answers_to(session, prompts.x[:, :4], labels[:, :4], prompts.x[:, 4:], Reporter(), "")[:, 0])
        torch.testing.assert_close(found[:, place], (ends[0] - ends[1]) / 2e-2, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "said"),
    (
        ({"length": 13}, "set length=12"),
        ({"length": 4, "prefixes": (2,)}, "length from 5 on"),
        ({"dimensions": 5}, "4 dimensions"),
        ({"rates": (float("inf"),)}, "finite"),
        ({"prefixes": (12,)}, "end at 11"),
        ({"noise": float("nan")}, "noise"),
    ),
)
def test_what_does_not_fit_is_refused_in_words(settings: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        wb.run("icl-regression", "organism/icl-lsa", preset="smoke", runs=tmp_path, progress=False, **settings)


def test_labels_that_are_no_numbers_are_refused() -> None:
    session = wb.load("organism/icl-lsa")
    values = torch.zeros(1, 5, 5)
    values[0, 1, 0] = float("nan")
    with pytest.raises(UsageError, match="finite"):
        session.logits(values)
