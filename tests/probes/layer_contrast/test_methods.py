"""Every method against its published formula, written out in float64 for one row of plain numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.probes.layer_contrast.method import methods
from workbench.probes.layer_contrast.method.methods import Method
from workbench.probes.layer_contrast.method.readings import Reading, Readings
from workbench.probes.layer_contrast.method.scores import score, terms_of
from workbench.probes.layer_contrast.method.sled import Evolution
from workbench.probes.layer_contrast.method.weights import entropy, flips_at

ROWS, VOCABULARY, WIDTH = 6, 60, 5
CANDIDATES = (2, 4, 6)
FIRST = {"dtype": torch.float64}


def draw(seed: int, *shape: int, spread: float = 2.0) -> torch.Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def exact() -> dict[str, Reading]:
    matrix = draw(0, VOCABULARY, WIDTH)
    found = {}
    for seed, stream in enumerate(("model", "amateur", "told", "without", "masked"), 1):
        states = {index: draw(10 * seed + index, ROWS, WIDTH, spread=1.0) for index in CANDIDATES}
        found[stream] = Reading(draw(seed, ROWS, VOCABULARY), states, lambda index, rows: rows @ matrix.T)
    return found


@pytest.fixture(params=["float64", "float32"])
def given(request: pytest.FixtureRequest, exact: dict[str, Reading]) -> Readings:
    if request.param == "float64":
        return exact
    return {
        name: Reading(
            each.logits.float(),
            {index: rows.float() for index, rows in each.states.items()},
            lambda index, rows, each=each: each.unembed(index, rows.double()).float(),  # type: ignore[misc]
        )
        for name, each in exact.items()
    }


def log_softmax(x: torch.Tensor) -> np.ndarray:
    values = x.double().numpy()
    return (
        values
        - np.log(np.exp(values - values.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - values.max(-1, keepdims=True)
    )


def kl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * np.log(a / b)).sum(-1)


def mask(f: np.ndarray, base: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(base >= base.max(-1, keepdims=True) + math.log(alpha), f, -1000.0)


def all_scores(method: Method, readings: Readings) -> np.ndarray:
    found = score(method, readings, torch.arange(ROWS), whole=True)
    assert found.whole is not None and found.at is not None
    np.testing.assert_allclose(found.at, found.whole[torch.arange(ROWS), torch.arange(ROWS)])
    assert found.best.tolist() == found.whole.argmax(-1).tolist()
    return found.whole.double().numpy()


@pytest.mark.parametrize("divergence", ["true", "as_released"])
@pytest.mark.parametrize("normalise", [False, True])
def test_dola(given: Readings, divergence: str, normalise: bool) -> None:
    method = replace(methods.dola(CANDIDATES, divergence), plausibility=0.1, normalise=normalise)  # type: ignore[arg-type]
    last = log_softmax(given["model"].logits)
    layers = np.stack([log_softmax(given["model"].lower(index)) for index in CANDIDATES])
    p, q = np.exp(last), np.exp(layers)
    m = (p + q) / 2
    far = (kl(p, m) + kl(q, m)) / 2 if divergence == "true" else (kl(m, p) + kl(m, q)) / 2 / VOCABULARY
    chosen = far.argmax(0)
    f = last - layers[chosen, np.arange(ROWS)]
    if normalise:
        f = f - np.log(np.exp(f).sum(-1, keepdims=True))
    np.testing.assert_allclose(all_scores(method, given), mask(f, last, 0.1), atol=1e-4)
    assert terms_of(method, given)[2].tolist() == [CANDIDATES[place] for place in chosen]


def test_a_single_candidate_is_static(given: Readings) -> None:
    wanted = log_softmax(given["model"].logits) - log_softmax(given["model"].lower(4))
    np.testing.assert_allclose(all_scores(methods.dola((4,)), given), wanted, atol=1e-4)


def test_icd_and_cd(given: Readings) -> None:
    last, amateur = (log_softmax(given[name].logits) for name in ("model", "amateur"))
    np.testing.assert_allclose(all_scores(methods.icd(), given), last - amateur, atol=1e-4)
    np.testing.assert_allclose(all_scores(methods.cd(0.1), given), mask(last - amateur, last, 0.1), atol=1e-4)


def test_lol_and_that_without_its_terms_it_is_icd(given: Readings) -> None:
    said = {name: log_softmax(given[name].logits) for name in ("model", "amateur", "told")}
    low = sum(log_softmax(given["model"].lower(j)) - log_softmax(given["amateur"].lower(j)) for j in CANDIDATES) / 3
    wanted = said["model"] - said["amateur"] + 0.5 * low + 0.25 * (said["told"] - said["model"])
    np.testing.assert_allclose(all_scores(methods.lol(0.5, 0.25, CANDIDATES), given), wanted, atol=1e-4)
    found, icd = (all_scores(method, given) for method in (methods.lol(0.0, 0.0, CANDIDATES), methods.icd()))
    np.testing.assert_array_equal(found, icd)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_cad(given: Readings, alpha: float) -> None:
    with_context, without = given["model"].logits.double(), given["without"].logits.double()
    wanted = log_softmax((1 + alpha) * with_context - alpha * without)  # on raw logits, as in the released code
    np.testing.assert_allclose(all_scores(methods.cad(alpha), given), wanted, atol=1e-4)


def test_cad_with_equal_streams_is_the_model_for_every_alpha(given: Readings) -> None:
    same = {"model": given["model"], "without": given["model"]}
    wanted = log_softmax(given["model"].logits)
    for alpha in (0.0, 0.7, 3.0):
        np.testing.assert_allclose(all_scores(methods.cad(alpha), same), wanted, atol=1e-4)


@pytest.mark.parametrize("least", [0.0, 0.3])
def test_adacad_and_its_bound(given: Readings, least: float) -> None:
    first, second = given["model"].logits.double(), given["without"].logits.double()
    p, q = np.exp(log_softmax(first)), np.exp(log_softmax(second))
    m = (p + q) / 2
    alpha = np.maximum((kl(p, m) + kl(q, m)) / 2, least)[:, None]
    wanted = log_softmax(torch.from_numpy((1 + alpha) * first.numpy() - alpha * second.numpy()))
    method = methods.adacad(least)
    np.testing.assert_allclose(all_scores(method, given), wanted, atol=1e-4)
    assert (-terms_of(method, given)[1][1] <= math.log(2) + 1e-6).all()


def test_decore_weighs_by_entropy_without_a_bound(given: Readings) -> None:
    base, masked = (log_softmax(given[name].logits) for name in ("model", "masked"))
    alpha = -(np.exp(base) * base).sum(-1, keepdims=True)
    assert alpha.max() > math.log(2)
    wanted = log_softmax(torch.from_numpy((1 + alpha) * base - alpha * masked))
    np.testing.assert_allclose(all_scores(methods.decore(), given), wanted, atol=1e-4)
    flat = entropy(torch.zeros(1, 8, dtype=torch.float64))
    assert float(flat) == pytest.approx(math.log(8))


@pytest.mark.parametrize("alpha", [0.2, 0.5, None])
def test_ck_plug(given: Readings, alpha: float | None) -> None:
    after, before = (log_softmax(given[name].logits) for name in ("model", "without"))
    h_after, h_before = (-(np.exp(each) * each).sum(-1, keepdims=True) for each in (after, before))
    share = h_after / (h_after + h_before) if alpha is None else alpha
    mixed = share * before + (1 - share) * (after - before)
    wanted = log_softmax(torch.from_numpy(np.where(h_before - h_after < 0, mixed, after)))
    assert 0 < (h_before < h_after).sum() < ROWS
    np.testing.assert_allclose(all_scores(methods.ck_plug(alpha), given), wanted, atol=1e-4)


@pytest.mark.parametrize("how", [Evolution(), Evolution(0.5, 5, 3, -2500.0)])
def test_sled(given: Readings, how: Evolution) -> None:
    wanted = np.full((ROWS, VOCABULARY), how.lower_bound)
    for row in range(ROWS):
        last = given["model"].logits[row].double().numpy()
        top = np.argsort(-last, kind="stable")[: how.scale]
        estimates = []
        for index in CANDIDATES:
            lower = given["model"].lower(index)[row].double().numpy()
            p, way = np.exp(log_softmax(torch.from_numpy(lower[None])))[0], lower - last
            cosines = []
            for token in top:
                gradient = p - np.eye(VOCABULARY)[token]
                cosines.append(gradient @ way / (np.linalg.norm(gradient) * np.linalg.norm(way)))
            estimates.append(np.maximum(cosines, 0) ** 2)
        sums = np.array([each.sum() for each in estimates])
        estimate = np.zeros(VOCABULARY)
        for each, total in zip(estimates, sums, strict=True):
            if total:
                estimate[top] += each / total * total / sums.sum()
        moved = last.copy()
        for step in range(how.steps):
            softmax = np.exp(moved - moved.max()) / np.exp(moved - moved.max()).sum()
            moved -= how.rate * (1 - step / how.steps) * (softmax - estimate)
        wanted[row, top] = moved[top]
    method = methods.sled(CANDIDATES, how)
    np.testing.assert_allclose(all_scores(method, given), wanted, atol=1e-4)
    normalised = all_scores(replace(method, normalise=True), given)
    np.testing.assert_allclose(normalised, log_softmax(torch.from_numpy(wanted)), atol=1e-4)


def test_scores_do_not_change_with_a_number_added_to_logits(exact: dict[str, Reading]) -> None:
    moved = {
        name: Reading(each.logits + seed, each.states, lambda index, rows, each=each: each.unembed(index, rows) - 3)  # type: ignore[misc]
        for seed, (name, each) in enumerate(exact.items(), 1)
    }
    every = [
        methods.dola(CANDIDATES), methods.icd(), methods.lol(0.3, 0.5, CANDIDATES), methods.cad(0.5), methods.adacad(),
        methods.ck_plug(0.3), methods.decore(), methods.plain(),
    ]  # fmt: skip
    for method in every:
        np.testing.assert_allclose(all_scores(method, moved), all_scores(method, exact), atol=1e-9)


def test_an_amateur_of_the_same_weights_leaves_all_that_is_plausible_alike(exact: dict[str, Reading]) -> None:
    same = {"model": exact["model"], "amateur": exact["model"]}
    generating = replace(methods.icd(), plausibility=0.1).in_generation()
    found = all_scores(generating, same)
    for row in torch.from_numpy(found).softmax(-1).numpy():
        np.testing.assert_allclose(row[row > 0], 1 / (row > 0).sum())


def test_the_alpha_at_which_the_top_token_flips(exact: dict[str, Reading]) -> None:
    first, second = exact["model"].logits, exact["without"].logits
    at, which = flips_at(first, second)
    assert at.isfinite().any()
    for row in range(ROWS):
        if not math.isfinite(float(at[row])):
            continue
        for factor, token in ((1 - 1e-6, int(first[row].argmax())), (1 + 1e-6, int(which[row]))):
            alpha = float(at[row]) * factor
            assert int(((1 + alpha) * first[row] - alpha * second[row]).argmax()) == token
    assert flips_at(first, first)[1].tolist() == [-1] * ROWS
