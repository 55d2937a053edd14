"""The task: facts, splits, prompts, when an answer is right, and what is counted over pairs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from workbench.errors import UsageError, WorkbenchError
from workbench.internals.steering import SteeringSpec
from workbench.probes.context_knob import stages
from workbench.probes.context_knob.config import ContextKnobConfig
from workbench.probes.context_knob.evaluation import answers
from workbench.probes.context_knob.task import matching
from workbench.progress import Reporter
from workbench.texts.facts import BUILT_IN, SHARES, Item, Task, differ, make_item, read_facts, split_of


def test_the_table_is_large_and_every_fact_can_be_contradicted() -> None:
    facts = read_facts(BUILT_IN).facts
    assert len({fact.subject for fact in facts}) >= 150 and len({fact.relation for fact in facts}) >= 6
    for fact in facts:
        assert fact.others and all(differ(fact.answer, other) for other in fact.others)
        assert fact.subject in fact.query and not fact.query.endswith(" ")
    assert len({(fact.relation, fact.subject) for fact in facts}) == len(facts)


def test_a_subject_has_one_split_wherever_it_appears() -> None:
    facts = read_facts(BUILT_IN).facts
    for subject in {fact.subject for fact in facts}:
        assert (
            split_of(subject)
            == split_of(subject.upper())
            == split_of(f"the {subject.removeprefix('the ').removeprefix('The ')}")
        )
    counts = {split: sum(split_of(fact.subject) == split for fact in facts) for split in SHARES}
    for split, share in SHARES.items():
        assert abs(counts[split] / len(facts) - share) < 0.06, counts


def test_an_item_states_another_answer_of_the_relation() -> None:
    rng = np.random.default_rng(0)
    facts = read_facts(BUILT_IN).facts
    for fact in facts[::7]:
        item = make_item(fact, "sentence", rng)
        assert item.context == f"{fact.query} {item.other}." and item.other in fact.others
        assert item.answer(False) == fact.answer and item.answer(True) == item.other
    with pytest.raises(UsageError, match="without paragraphs"):
        make_item(facts[0], "paragraph", rng)


ROW = {
    "subject": "Norway",
    "rel_p_id": "P36",
    "query": "Norway's capital city,",
    "object": "Huntington",
    "fact_paragraph": "Huntington is the capital city of Norway.",
    "fact_parent": {"object": "Oslo"},
}


def test_files_in_fakepedias_format(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps([ROW, {**ROW, "object": "Oslo Town"}]))
    (fact,) = read_facts(str(path)).facts  # an answer that begins with the other one tells nothing
    assert (fact.subject, fact.answer, fact.others) == ("Norway", "Oslo", ("Huntington",))
    assert make_item(fact, "paragraph", np.random.default_rng(0)).context == ROW["fact_paragraph"]


def test_a_file_of_a_data_set_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "datasets--someone--facts"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    (cached / "snapshots" / ("a" * 40) / "sub").mkdir(parents=True)
    (cached / "snapshots" / ("a" * 40) / "sub" / "base.json").write_text(json.dumps([ROW]))
    found = read_facts("hub:someone/facts/sub/base.json")
    assert found.name == "someone/facts/sub/base.json" and found.facts[0].answer == "Oslo"
    with pytest.raises(WorkbenchError, match="is not in Hugging Face's cache, and the Hub cannot be reached"):
        read_facts("hub:someone/facts/other.json")
    for source in ("hub:someone/facts", "hub:someone", "hub:someone/facts/base.csv", "hub:"):
        with pytest.raises(UsageError, match=r"the form is hub:owner/name/file\.json"):
            read_facts(source)
    with pytest.raises(UsageError, match="some one"):
        read_facts("hub:some one/facts/base.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "it is not JSON"),
        ("[]", "no list of facts"),
        ('{"a": 1}', "no list of facts"),
        ("[1]", "entry 0: a fact has subject"),
        (json.dumps([ROW, {**ROW, "query": ""}]), "entry 1: the parts of a fact are texts"),
        (json.dumps([{**ROW, "fact_parent": None}]), "entry 0: a fact has subject"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "facts.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=said):
        read_facts(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        read_facts(str(tmp_path / "missing.json"))


@pytest.mark.parametrize(
    ("said", "strict", "prefix"),
    [
        ("Paris", True, True),
        (" Paris.\n", True, True),
        ("Paris. It is in France", True, True),
        ("Paris\nQuery:", True, True),
        ("Paris, France", True, True),
        ("Paris!", True, True),
        ("Paris,France", False, True),
        ("Paris is", False, True),
        ("Paris Hilton", False, True),
        ("Parisian", False, True),
        ("paris", False, False),
        ("The capital is Paris", False, False),
        ("", False, False),
    ],
)
def test_strict_and_prefix_matching(said: str, strict: bool, prefix: bool) -> None:
    assert matching.strict(said, "Paris") is strict and matching.prefix(said, "Paris") is prefix


def test_the_published_prefix_rule_takes_1_for_12_and_the_strict_one_does_not() -> None:
    assert matching.prefix("12", "1") and not matching.strict("12", "1")
    assert matching.prefix("1,000", "1") and not matching.strict("1,000", "1")
    assert matching.strict("1, and", "1")


def test_pair_accuracy_needs_both() -> None:
    right = np.array([[True, True, False, False], [True, False, True, False]])
    assert matching.pair_accuracy(right).tolist() == [True, False, False, False]
    one = np.array([True, False, True])
    assert not matching.pair_accuracy(
        np.stack([one, ~one])
    ).any()  # the same answer to both intents is never both right


def test_memorisation_ratio_of_hand_made_answers() -> None:
    prior, context = np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 0], bool)
    assert matching.memorisation_ratio(prior, context) == pytest.approx(2 / 3)
    assert np.isnan(matching.memorisation_ratio(np.zeros(3, bool), np.zeros(3, bool)))


@pytest.mark.parametrize("task", ["base", "arithmetic"])
@pytest.mark.parametrize("by", ["strict", "prefix"])
def test_what_a_value_is_chosen_by_and_what_is_scored_are_judged_by_one_rule(
    task: Task, by: matching.Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [Item("s", "r", "c", "q", "5", "7", task) for _ in range(4)]
    said = [["5", "it is five", "12 = 5", "7"], ["7.", "seven", "7 or so", "3"]]
    config = ContextKnobConfig(matching=by, stretches=(1.0,))
    found = SimpleNamespace(layer=0, direction=None, natural=(0.0, 1.0))
    for name, value in {"Prompter": MagicMock(), "prefill": MagicMock(), "steered": lambda *given: said}.items():
        monkeypatch.setattr(stages, name, value)
    chosen = stages._steering(MagicMock(), found, items, config, MagicMock())[0]  # type: ignore[arg-type]

    prefilled: Any = MagicMock()
    monkeypatch.setattr(answers, "Prompter", MagicMock())
    monkeypatch.setattr(answers, "prefill", lambda *given: prefilled)
    monkeypatch.setattr(answers, "residuals", lambda *given: torch.zeros(1, 2 * len(items), 1))
    monkeypatch.setattr(answers, "answers", MagicMock(side_effect=[[*said[0], *said[1]], said[0]]))
    monkeypatch.setattr(answers, "steered", lambda *given: [])
    knob = (SteeringSpec(0, torch.zeros(1), 0.0),) * 2
    scored = answers.score(MagicMock(), items, {}, knob, config, Reporter(), "scoring")
    assert scored[by].sel(condition="asked").values.tolist() == chosen.tolist()
    assert chosen.tolist()[0][2] is (task == "arithmetic" and by == "prefix")
