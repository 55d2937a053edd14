"""The probe names exactly the planted heads of its organism, and none in the same model with the far path cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import UsageError
from workbench.probe.run_context import StagedRunContext
from workbench.probes.head_roles.needles import load
from workbench.probes.head_roles.probe import HeadRoles
from workbench.probes.head_roles.summary import named
from workbench.probes.head_roles.trial_scores import generated, teacher_forced

SMALL = {"random_sets": 4, "references": 2, "counts": (1,)}


@pytest.fixture(scope="module", params=["head-roles", "head-roles-null"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, dict[str, Any]]:
    session = wb.load(f"organism/{request.param}")
    run = wb.run("head-roles", session, preset="quick", runs=tmp_path_factory.mktemp("runs"))
    planted = json.loads((_folder(request.param) / "planted.json").read_text(encoding="utf-8"))
    return request.param, run, planted


def _folder(name: str) -> Path:
    from workbench.models.registered import find

    return find(f"organism/{name}").folder


def _headlines(run: Any) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in run.record["headline"]}


def test_exactly_the_planted_heads_are_named(found: tuple[str, Any, dict[str, Any]]) -> None:
    name, run, planted = found
    heads = run.data["heads"].to_dataset()
    assert heads["named"].shape == (4, 4)
    assert sorted(map(list, named(heads))) == planted["copy_heads"]
    assert len(planted["copy_heads"]) == (2 if name == "head-roles" else 0)
    share = _headlines(run)["retrieval_head_share"]
    assert share["value"] == len(planted["copy_heads"]) / 16
    assert share["low"] <= share["value"] <= share["high"]


def test_decoys_do_induction_nearby_and_nothing_from_far(found: tuple[str, Any, dict[str, Any]]) -> None:
    _, run, planted = found
    induction = run.data["heads"].to_dataset()["induction"]
    assert len(planted["decoys"]) == 2
    for layer, head in planted["decoys"]:
        assert induction.sel(layer=layer, head=head, repeat="near") > 0.7
        assert induction.sel(layer=layer, head=head, repeat="far") < 0.02
        assert run.data["heads"]["copy_score"].sel(layer=layer, head=head) == 0


def test_recall_needs_the_planted_heads_and_is_not_there_without_a_far_path(
    found: tuple[str, Any, dict[str, Any]],
) -> None:
    name, run, _ = found
    lines = _headlines(run)
    whole, top, random, lost = (
        lines[f"needle_recall{end}"] for end in ("", "_top_ablated", "_random_ablated", "_lost_to_top")
    )
    assert run.data.attrs["top"] == 2
    if name == "head-roles":
        assert whole["value"] >= 0.75
        assert top["value"] == 0
        assert random["value"] >= 0.5
        assert lost["low"] > 0
    else:
        assert whole["value"] == top["value"] == random["value"] == 0
        assert lost["low"] <= 0 <= lost["high"]
        assert any("recalls only 0%" in limit for limit in run.record["limits"])


def test_headlines_carry_interval_and_control(found: tuple[str, Any, dict[str, Any]]) -> None:
    _, run, _ = found
    lines = _headlines(run)
    assert set(lines) >= {
        "retrieval_head_share",
        "needle_recall",
        "needle_recall_top_ablated",
        "needle_recall_random_ablated",
    }
    for line in lines.values():
        assert line["low"] <= line["value"] <= line["high"]
        assert line["n"] == 8
        assert line["split"] == "held-out"
        assert line["control"]["n"] == 8
    unseen = lines["needle_recall"]["control"]
    assert "taken out" in unseen["name"]
    assert unseen["value"] == 0
    assert all(check["passed"] for check in run.record["checks"])
    needles, haystack, answered = run.record["data"]
    assert needles["n_used"] == haystack["n_used"] == answered["n_used"] + answered["n_dropped"] == 14


def test_every_figure_can_be_drawn(found: tuple[str, Any, dict[str, Any]]) -> None:
    _, run, _ = found
    assert list(run.figures) == ["grid", "ablation", "sorted", "induction", "places"]
    for figure in run.figures.values():
        assert len(figure.data)
        assert figure.plotly().data


@pytest.fixture(scope="module")
def session() -> Any:
    return wb.load("organism/head-roles")


def _trials(session: Any, tmp_path: Path, n: int = 4) -> list[Any]:
    context = StagedRunContext(0, wb.progress.Reporter(), tmp_path, "")
    config = HeadRoles.Config(n=n, n_selection=2)
    return load(config, context).trials("held-out", n, [160], 2, session.tokenizer, context.rng("trials"))


def test_the_own_answer_scores_as_the_true_one_where_it_is_the_same(session: Any, tmp_path: Path) -> None:
    for trial in _trials(session, tmp_path):
        forced = teacher_forced(session, trial, "answer")
        start, end = trial.answer
        said = session.generate(list(trial.prompt), max_new_tokens=end - start).rows()[0]
        assert (said == list(trial.ids[start:end])) == (forced.correct == 1)
        own = generated(session, trial, forced, "answer")
        assert own is not None
        if forced.correct == 1:
            assert own.said == 1
            assert own is forced


def test_rows_of_one_pass_are_the_rows_of_decoding(session: Any, tmp_path: Path) -> None:
    trial = _trials(session, tmp_path, n=2)[0]
    start, end = trial.answer
    whole = session.capture(list(trial.ids), "pattern.2", positions=range(start - 1, end - 1))["pattern.2"][0]
    for step in range(end - start):
        upto = list(trial.ids[: start + step])
        row = session.capture(upto, "pattern.2", positions=[-1])["pattern.2"][0, :, 0]
        assert np.allclose(row, whole[:, step, : len(upto)], atol=1e-5)


def test_a_run_is_the_same_for_the_same_seed(session: Any, tmp_path: Path) -> None:
    one, two, other = (
        wb.run("head-roles", session, preset="smoke", seed=seed, runs=tmp_path, **SMALL) for seed in (1, 1, 2)
    )
    assert one.record["headline"] == two.record["headline"]
    assert one.data["held_out"].to_dataset().identical(two.data["held_out"].to_dataset())
    assert list(one.data["held_out"]["key"].values) != list(other.data["held_out"]["key"].values)


def test_modes_rules_and_ablations_can_be_chosen(session: Any, tmp_path: Path) -> None:
    run = wb.run(
        "head-roles",
        session,
        preset="smoke",
        runs=tmp_path,
        mode="generated",
        rule="released",
        ablation="resample",
        **SMALL,
    )
    heads = run.data["heads"].to_dataset()
    assert float(heads["copy_score"].max()) < float(heads["copy_all"].sel(mode="generated", rule="answer").max())
    assert set(run.data["ablation"]["how"].values) == {"none", "resample", "zero"}
    assert _headlines(run)["needle_recall_top_ablated"]["value"] < _headlines(run)["needle_recall"]["value"]


def test_own_needles_and_own_haystack(session: Any, tmp_path: Path) -> None:
    data, text = tmp_path / "needles.jsonl", tmp_path / "text.txt"
    values = ["apple tiger", "piano rocket", "candle dolphin", "guitar hammock", "pepper saddle", "tulip violin"]
    places = ["castle", "tower", "bridge", "temple", "garden", "palace"]
    lines = [
        {
            "sentence": f"The passphrase of the {place} is {value}.",
            "question": f"What is the passphrase of the {place}?",
            "prefix": f"The passphrase of the {place} is",
            "answer": value,
        }
        for place, value in zip(places, values, strict=True)
    ]
    data.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    text.write_text("The old baker walked slowly to the market before noon. " * 40, encoding="utf-8")
    settings = {"data": str(data), "haystack": str(text), **SMALL}
    run = wb.run("head-roles", session, preset="smoke", runs=tmp_path, **settings)
    assert [source["n_used"] for source in run.record["data"]][:2] == [5, 5]
    with pytest.raises(UsageError, match="ask for fewer or give more needles"):
        wb.run("head-roles", session, preset="smoke", runs=tmp_path, **settings, n=6)


def test_prompts_longer_than_the_model_are_refused(session: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="set length=1024"):
        wb.run("head-roles", session, preset="smoke", length=2000, runs=tmp_path)


def test_the_recipe_makes_a_model_that_loads(tmp_path: Path) -> None:
    from workbench.probe.registry import RECIPES
    from workbench.runs.train import train

    record = train(RECIPES.get("head-roles-organism"), tmp_path / "made", preset="smoke")
    assert record["status"] == "success"
    assert {"config.json", "model.safetensors", "tokenizer.json", "planted.json"} <= set(record["files"])
    made = wb.load(str(tmp_path / "made"))
    assert (made.shape.layers, made.shape.heads) == (4, 4)
    assert made.logits("The old baker walked").shape[1] == 4


@pytest.mark.parametrize("cut", [False, True])
def test_the_recipe_is_the_plain_loop_that_made_the_shipped_organisms(tmp_path: Path, cut: bool) -> None:
    """Written out with PyTorch's own scheduler: the weights are the same, bit for bit."""
    from safetensors.torch import load_file

    from workbench.probes.head_roles import organism
    from workbench.probes.head_roles.attention_loss import far_mass, missed, planting
    from workbench.probes.head_roles.training_batches import training_batch
    from workbench.texts.vocabulary import word_tokenizer

    config = organism.OrganismConfig(steps=5, rows=1, length=70, cut=cut)
    made = organism.train(config, tmp_path, 3, wb.progress.Reporter())
    torch.manual_seed(3)
    rng, tokenizer = np.random.default_rng(3), word_tokenizer(organism.CONTEXT)
    allowed = () if cut else organism.PLANTED
    tape = planting(config.window, allowed)
    model: Any = organism._model(len(tokenizer), tokenizer.pad_token_id)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min((step + 1) / 20, max(0.02, 1 - step / 5)))
    losses = []
    for step in range(5):
        taught = training_batch(tokenizer, 1, min(70, 64 + 6 * 2 * step // 5), config.window, rng)
        logits = model(taught.ids).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), taught.ids[:, 1:], reduction="none")
        loss = (each * taught.weights).sum() / taught.weights.sum()
        real = (taught.ids != tokenizer.pad_token_id).float() + 20 * (taught.far >= 0)
        loss = loss + 5.0 * far_mass(tape.maps, config.window, allowed, real)
        loss = loss + 0.2 * missed(tape.maps, organism.DECOYS, taught.near)
        if allowed:
            loss = loss + 0.2 * missed(tape.maps, allowed, taught.far)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    kept = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(each, kept[name]) for name, each in model.state_dict().items())
    assert made["losses"] == losses


def test_a_stopped_training_of_an_organism_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    from workbench.errors import Cancelled
    from workbench.probe.registry import RECIPES
    from workbench.runs.train import train

    recipe, given = RECIPES.get("head-roles-organism"), {"steps": 4, "rows": 1, "length": 70}
    whole = train(recipe, tmp_path / "whole", "smoke", 3, given)
    reporter = wb.progress.Reporter()
    reporter.listener = lambda event: reporter.cancelled.set() if event.done == 2 else None
    with pytest.raises(Cancelled):
        train(recipe, tmp_path / "stopped", "smoke", 3, given, progress=reporter)
    resumed = train(recipe, tmp_path / "stopped", "smoke", 3, given, resume=True)
    assert resumed["files"] == whole["files"] and len(resumed["results"]["losses"]) == 4
    assert resumed["results"] == whole["results"]


def test_a_shipped_organism_is_what_its_recipe_makes() -> None:
    for name, far in (("head-roles", True), ("head-roles-null", False)):
        folder = _folder(name)
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        assert record["recipe"] == "head-roles-organism"
        assert record["spec"]["resolved"]["far_path"] is far
        assert (folder / "model.safetensors").stat().st_size < 2_500_000
