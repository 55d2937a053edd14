"""What ships for the default model: an adapter and a direction, each with its record, neither made on test subjects."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from workbench.models.adapters import adapters
from workbench.models.registered import DEFAULT
from workbench.probes.context_knob.knob.knob import knobs, load
from workbench.probes.context_knob.knob.learned import read
from workbench.probes.context_knob.learning.adapter import AdapterConfig
from workbench.probes.context_knob.task.matching import strict
from workbench.probes.context_knob.task.prior_knowledge import known_items
from workbench.probes.context_knob.task.prompting import Prompter
from workbench.progress import Reporter
from workbench.texts.facts import read_facts, split_of

ADAPTER, DIRECTION = adapters()["adapter/context-knob"], knobs()["context-knob"]


@pytest.mark.parametrize("folder", [ADAPTER, DIRECTION], ids=["adapter", "direction"])
def test_files_are_those_of_the_record_and_name_no_folder(folder: Path) -> None:
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "success" and record["model"]["id"] == DEFAULT
    for name, digest in record["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    for path in folder.glob("*.json"):
        assert not any(root in path.read_text() for root in ("/tmp", "/home", "/root", "/work"))


def test_recipes_make_the_same_by_default() -> None:
    made = json.loads((ADAPTER / "record.json").read_text())["spec"]["resolved"]
    assert AdapterConfig(**made) == AdapterConfig()


def test_no_test_subject_was_used() -> None:
    facts = {fact.subject for fact in read_facts("facts").facts}
    trained = json.loads((ADAPTER / "trained_on.json").read_text())
    chosen = json.loads((DIRECTION / "chosen_on.json").read_text())
    assert {split_of(name) for name in [*trained, *chosen["train"]]} == {"train"}
    assert {split_of(name) for name in chosen["validation"]} == {"validation"}
    assert set(trained) <= facts and chosen["adapter"] == "adapter/context-knob"


def test_the_direction_is_one_line() -> None:
    knob = load("context-knob")
    assert knob.direction.shape == (576,) and float(knob.direction.norm()) == pytest.approx(1, abs=1e-6)
    found = read("context-knob")
    assert found.layer == knob.layer and set(found.stretch) == {"adapter", "plain"}
    assert found.knob("plain", "").prior == pytest.approx(knob.prior, rel=1e-5)
    session = wb.load("organism/context-knob")
    with pytest.raises(wb.errors.UsageError, match="has 576 numbers"):
        knob.apply(session, "context")


def test_a_fact_is_known_that_comes_in_both_forms_of_asking(default_model: Any) -> None:
    facts = [fact for fact in read_facts("facts").facts if split_of(fact.subject) == "validation"][:24]
    prompter, tokenizer = Prompter(default_model), default_model.tokenizer
    forms = [(prompter.bare(fact.query, fact.answer), tokenizer(fact.query)["input_ids"]) for fact in facts]
    right = []
    for prompts in zip(*forms, strict=True):
        rows = default_model.generate(list(prompts), 8).rows()
        said = [tokenizer.decode(row, skip_special_tokens=True) for row in rows]
        right.append([strict(text, fact.answer) for text, fact in zip(said, facts, strict=True)])
    right = list(zip(*right, strict=True))
    assert known_items(default_model, facts, Reporter()) == [all(each) for each in right]
    assert {(True, True), (True, False), (False, False)} <= set(right)
