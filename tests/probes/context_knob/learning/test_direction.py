"""What is done along a direction: identities that hold in any model, and the planted direction of the organism."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import UsageError
from workbench.internals import edits
from workbench.internals.prefix_cache import answers
from workbench.internals.projection import interchange, steer, unit
from workbench.internals.session import Session
from workbench.probes.context_knob.knob.knob import Knob, load
from workbench.probes.context_knob.learning.interchange import counterfactual_pairs, learn
from workbench.probes.context_knob.learning.layer_sweep import choose
from workbench.probes.context_knob.organism import BLOCK, OrganismConfig, construct
from workbench.probes.context_knob.probe import ContextKnob
from workbench.progress import Reporter
from workbench.runs import execute, prepare

SETTINGS: dict[str, Any] = {
    "n": 24, "n_train": 60, "n_validation": 8, "layers": (0, 1, 2, 3), "steps": 200, "random": 10, "curve": 5,
    "stretches": (1.0, 1.5),
}  # fmt: skip
PROMPTS = [[5, 9, 11, 4, 8], [7, 3, 22], [40, 41, 42, 43, 6, 30, 12]]


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load((tiny("llama"), None))


@pytest.fixture(scope="module", params=[False, True], ids=["organism", "null"])
def organism(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    folder = tmp_path_factory.mktemp("null" if request.param else "organism")
    # another seed than that of the shipped one, by which the constants of the construction were found
    construct(OrganismConfig(cut=request.param), folder, 11, Reporter())
    return folder, request.param


def states(count: int = 6, size: int = 24) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    target, source = (torch.randn(count, size, generator=generator, dtype=torch.float64) for _ in range(2))
    return target, source, unit(torch.randn(size, generator=generator, dtype=torch.float64))


def test_identities_along_a_direction() -> None:
    target, source, u = states()
    assert float(u.norm()) == pytest.approx(1)
    projection = torch.outer(u, u)
    torch.testing.assert_close(projection @ projection, projection)
    torch.testing.assert_close(interchange(target, target, u), target)
    torch.testing.assert_close(steer(target, u, target @ u), target)
    new = interchange(target, source, u)
    torch.testing.assert_close(new, target @ (torch.eye(24).double() - projection) + source @ projection)
    torch.testing.assert_close(new, steer(target, u, source @ u))
    torch.testing.assert_close(new @ u, source @ u)
    torch.testing.assert_close(new - (new @ u)[:, None] * u, target - (target @ u)[:, None] * u)
    torch.testing.assert_close(interchange(target, source, u), interchange(target, source, -u))


def test_the_edit_that_steers_is_the_formula(session: Session) -> None:
    _, _, u = states()
    knob = Knob(u.float(), 1, -2.0, 3.0)
    before = session.capture(PROMPTS, ["resid_post.1"], positions=[-1])["resid_post.1"][:, 0]
    after = session.capture(PROMPTS, ["resid_post.1"], positions=[-1], edits=knob.edits("context"))
    torch.testing.assert_close(after["resid_post.1"][:, 0], steer(before, u.float(), 3.0), rtol=1e-4, atol=1e-5)
    # the value that is there already changes nothing
    own = edits.project("resid_post.1", u, (before @ u.float())[:, None], positions=[-1], during="prompt")
    torch.testing.assert_close(
        session.logits(PROMPTS, [-1], edits=[own]), session.logits(PROMPTS, [-1]), rtol=1e-4, atol=1e-5
    )


def test_all_writes_of_the_source_give_the_sources_logits(session: Session) -> None:
    target, source = [5, 9, 11, 4], [5, 30, 2, 44]
    sites = [f"{kind}.{layer}" for layer in range(session.shape.layers) for kind in ("attn_out", "mlp_out")]
    seen = session.capture(source, ["embed", *sites], logits=True)
    written = [edits.patch(name, seen[name]) for name in ("embed", *sites)]
    assert seen.logits is not None
    torch.testing.assert_close(session.logits(target, edits=written), seen.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["hf", "transformerlens", "nnsight"])
def test_a_knob_steers_generation_the_same_on_every_engine(engine: str, tmp_path: Path) -> None:
    session = wb.load((tiny("llama"), None))
    _, _, u = states()
    Knob(4 * u.float(), 1, -40.0, 40.0, "tiny").save(tmp_path / "knob")
    knob = load(tmp_path / "knob")
    assert float(knob.direction.norm()) == pytest.approx(1) and (knob.layer, knob.model) == (1, "tiny")
    prompt = PROMPTS[0]
    plain = session.generate(prompt, 4, stop=[]).rows()
    steered = knob.apply(session, "context").generate(prompt, 4, stop=[], engine=engine).rows()
    # token by token by hand: the last token of ever longer prompts is steered, and so was each before it
    ids, count = list(prompt), len(prompt)
    for _ in range(4):
        at = list(range(count - 1, len(ids)))
        edit = edits.project("resid_post.1", u, 40.0, positions=at)
        ids.append(int(session.logits(ids, [-1], edits=[edit])[0, 0].argmax()))
    assert steered == [ids[count:]] and steered != plain
    assert session.generate(prompt, 4, stop=[]).rows() == plain


def test_wrong_use_of_a_knob_is_one_clear_line(session: Session, tmp_path: Path) -> None:
    _, _, u = states()
    with pytest.raises(UsageError, match="has 24 numbers after block 7"):
        Knob(u, 7, 0, 1).apply(session, 0.0)
    with pytest.raises(UsageError, match="'prior' or 'context'"):
        Knob(u, 1, 0, 1).apply(session, "both")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no knob"):
        load(tmp_path / "nothing")
    (tmp_path / "direction.safetensors").write_text("x")
    (tmp_path / "knob.json").write_text("{}")
    with pytest.raises(UsageError, match="holds no knob"):
        load(tmp_path)


def test_block_and_values_are_chosen_by_validation_pairs_alone() -> None:
    right = np.zeros((3, 2, 2, 4), bool)
    right[0, :, 0] = True  # only one of the intents: no pair
    right[1, 1] = [[True, True, True, False], [True, True, False, True]]
    right[2, 0, :, :1] = True
    assert choose(right) == (1, 1)
    right[2] = True
    assert choose(right) == (2, 0)


def test_the_probe_finds_what_was_planted_and_nothing_in_the_null(organism: tuple[Path, bool], tmp_path: Path) -> None:
    folder, cut = organism
    planted = torch.tensor(json.loads((folder / "planted.json").read_text())["direction"])
    prepared = prepare.prepare(ContextKnob(), wb.load(str(folder)), "smoke", 0, SETTINGS)
    result = wb.open(execute.execute(prepared, tmp_path / "runs"))
    found = {line["name"]: line for line in result.record["headline"]}
    assert all(check["passed"] for check in result.record["checks"])
    assert "transfer_pair_accuracy" not in found and found["pair_accuracy"]["n"] == 24
    if cut:
        assert found["pair_accuracy"]["value"] == found["steering_pair_accuracy"]["value"] == 0
        assert found["best_block"]["value"] is None
        assert not result.data["sweep"]["right"].values.all(2).any()
        return
    from safetensors.torch import load_file

    learnt = load_file(result.folder / "tensors.safetensors")["direction"]
    assert found["best_block"]["value"] == BLOCK
    assert abs(float(learnt @ planted)) >= 0.99
    assert found["pair_accuracy"]["value"] == found["steering_pair_accuracy"]["value"] == 1
    assert found["steering_pair_accuracy_random"]["value"] <= 0.1
    by_block = result.data["sweep"]["right"].values.all(2).mean(-1).max(1)
    assert by_block[BLOCK] == 1 and all(by_block[[0, 2, 3]] == 0)
    assert {"conditions", "curves", "sweep", "values", "cosines", "answers"} == set(result.figures)


def test_learning_leaves_the_weights_alone_and_stays_of_length_one(organism: tuple[Path, bool]) -> None:
    from workbench.probes.context_knob.organism import single_words
    from workbench.texts.facts import make_item

    session = wb.load(str(organism[0]))
    before = {name: each.clone() for name, each in session.model.named_parameters()}
    rng = np.random.default_rng(0)
    facts = [fact for fact in single_words() if fact.relation == "symbol"][:4]
    taught = counterfactual_pairs(session, [make_item(fact, "sentence", rng) for fact in facts], "instruction", [BLOCK])
    one = learn(session, taught, BLOCK, 4, 4, 0.05, np.random.default_rng(1), Reporter())
    two = learn(session, taught, BLOCK, 4, 4, 0.05, np.random.default_rng(1), Reporter())
    torch.testing.assert_close(one.direction, two.direction)
    assert float(one.direction.norm()) == pytest.approx(1) and len(one.losses) == 4
    assert all(torch.equal(each, before[name]) for name, each in session.model.named_parameters())
    assert answers(session, taught.waiting.pick([0]))[0] == answers(session, taught.waiting.pick([0, 1]))[0]
