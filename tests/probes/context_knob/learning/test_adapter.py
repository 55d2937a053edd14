"""The adapter's recipe: it goes on where it stopped, learns, and leaves the model as it was; arms switch it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import workbench as wb
from workbench.errors import Cancelled, UsageError
from workbench.internals.session import Session
from workbench.probes.context_knob.learning.adapter import RECIPE
from workbench.probes.context_knob.learning.adapter_on_off import arms
from workbench.progress import Progress, Reporter
from workbench.runs.train import train

GIVEN = {"steps": 6, "pairs": 1, "rank": 2, "every": 2, "learning_rate": 1e-2}
PROMPT = "Query: The capital of France is"


@pytest.fixture
def session() -> Session:
    return wb.load("organism/context-knob-null")


def test_a_stopped_training_goes_on_to_the_same_adapter(session: Session, tmp_path: Path) -> None:
    before = {name: each.clone() for name, each in session.model.named_parameters()}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(RECIPE, whole, "smoke", 3, GIVEN, session)
    reporter = Reporter()

    def listen(event: Progress) -> None:
        if event.stage.startswith("training") and event.done == 4:
            reporter.cancelled.set()

    reporter.listener = listen
    with pytest.raises(Cancelled):
        train(RECIPE, stopped, "smoke", 3, GIVEN, session, reporter)
    assert not (stopped / "adapter_model.safetensors").exists()
    record = train(RECIPE, stopped, "smoke", 3, GIVEN, session, resume=True)
    one, two = (load_file(each / "adapter_model.safetensors") for each in (whole, stopped))
    assert one.keys() == two.keys() and len(one) == 2 * 4 * session.shape.layers
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(bool(each.any()) for name, each in one.items() if "lora_B" in name)
    assert set(record["files"]) == {"adapter_config.json", "adapter_model.safetensors", "trained_on.json"}
    after = dict(session.model.named_parameters())
    assert after.keys() == before.keys() and all(torch.equal(each, before[name]) for name, each in after.items())


def test_the_adapter_is_what_a_plain_loop_makes(session: Session, tmp_path: Path) -> None:
    """Written out: AdamW with its rate set at every step, batches by seed and step."""
    from peft import LoraConfig, get_peft_model

    from workbench.probes.context_knob.learning.adapter import AdapterConfig, _batch, _loss
    from workbench.probes.context_knob.task.prior_knowledge import known_items
    from workbench.probes.context_knob.task.prompting import Prompter
    from workbench.texts.facts import read_facts, split_of

    config = AdapterConfig(**{**GIVEN, "warm_up": 2})
    record = train(RECIPE, tmp_path / "a", "smoke", 3, {**GIVEN, "warm_up": 2}, session)
    kept = load_file(tmp_path / "a" / "adapter_model.safetensors")
    facts = [fact for fact in read_facts(config.data).facts if split_of(fact.subject) == "train"]
    facts = [fact for fact, yes in zip(facts, known_items(session, facts, Reporter()), strict=True) if yes]
    torch.manual_seed(3)
    with session.borrowed():  # as the recipe runs it
        model = get_peft_model(
            session.model, LoraConfig(r=2, lora_alpha=2, target_modules=list(config.modules), bias="none")
        )
        weights = {name: each for name, each in model.named_parameters() if each.requires_grad}
        optimiser = torch.optim.AdamW(weights.values(), lr=1e-2, weight_decay=0.01)
        losses = []
        for step in range(6):
            optimiser.param_groups[0]["lr"] = 1e-2 * min((step + 1) / 3, (6 - step) / 4)
            loss = _loss(model, *_batch(facts, config, [3, step], Prompter(session), session))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
            optimiser.step()
            losses.append(loss.item())
    assert record["results"]["losses"] == losses
    assert len(kept) == len(weights)
    assert all(torch.equal(each, kept[name.replace(".default", "")]) for name, each in weights.items())


def test_a_training_goes_on_with_the_same_settings_only(session: Session, tmp_path: Path) -> None:
    reporter = Reporter()

    def listen(event: Progress) -> None:
        if event.stage.startswith("training") and event.done == 3:
            reporter.cancelled.set()

    reporter.listener = listen
    with pytest.raises(Cancelled):
        train(RECIPE, tmp_path, "smoke", 3, GIVEN, session, reporter)
    with pytest.raises(UsageError, match="'pairs' was 1 and is now 2"):
        train(RECIPE, tmp_path, "smoke", 3, {**GIVEN, "pairs": 2}, session, resume=True)


def test_arms_put_the_adapter_in_and_take_it_out(session: Session, tmp_path: Path) -> None:
    train(RECIPE, tmp_path / "a", "smoke", 0, GIVEN, session)
    adapted = wb.load("organism/context-knob-null", adapter=tmp_path / "a")
    expected = adapted.logits(PROMPT, [-1])
    plain = session.logits(PROMPT, [-1])
    wanting = [each.requires_grad for each in session.model.parameters()]
    assert not torch.allclose(expected, plain)
    for start, name in ((session, str(tmp_path / "a")), (adapted, "auto")):
        with arms(start, name) as both:
            torch.testing.assert_close(both.session.logits(PROMPT, [-1]), expected)
            with both.without() as without:
                torch.testing.assert_close(without.logits(PROMPT, [-1]), plain)
            torch.testing.assert_close(both.session.logits(PROMPT, [-1]), expected)
            assert both.adapter is not None
    assert torch.equal(session.logits(PROMPT, [-1]), plain)
    assert [each.requires_grad for each in session.model.parameters()] == wanting
    with arms(session, "auto") as both:
        assert both.adapter is None  # nothing ships for this model


def test_wrong_use_is_one_clear_line(session: Session, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        train(RECIPE, tmp_path / "a", "smoke", 0, {**GIVEN, "modules": ("nothing",)}, session)
    facts = tmp_path / "facts.json"
    facts.write_text('[{"subject":"x","rel_p_id":"r","query":"x is","object":"b","fact_parent":{"object":"c"}}]')
    with pytest.raises(UsageError, match="knows none of the facts"):
        train(RECIPE, tmp_path / "b", "smoke", 0, {**GIVEN, "data": str(facts)}, session)
    train(RECIPE, tmp_path / "c", "smoke", 0, {**GIVEN, "steps": 1}, session)
    with pytest.raises(UsageError, match="an adapter already"):
        train(RECIPE, tmp_path / "d", "smoke", 0, GIVEN, wb.load("organism/context-knob-null", adapter=tmp_path / "c"))
