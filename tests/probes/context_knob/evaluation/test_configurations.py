"""Further tasks and configurations: arithmetic, two steps, paragraphs, few-shot, and separation against accuracy."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.errors import UsageError
from workbench.probes.context_knob.evaluation import separation
from workbench.probes.context_knob.evaluation.configurations import Sets, pack, setups, unpack
from workbench.probes.context_knob.probe import ContextKnob
from workbench.probes.context_knob.task import matching
from workbench.probes.context_knob.task.arithmetic import BOUND, arithmetic_facts, value
from workbench.probes.context_knob.task.prompting import INTENTS, Prompter
from workbench.probes.context_knob.task.tasks import facts_of
from workbench.runs import execute, prepare
from workbench.texts.facts import BUILT_IN, Facts, make_item, read_facts, split_of


def by_python(expression: str) -> Fraction | None:
    """The value that Python itself gives, in fractions."""
    try:
        found = eval(re.sub(r"\d+", r"Fraction(\g<0>)", expression), {"Fraction": Fraction})
    except ZeroDivisionError:
        return None
    return found if isinstance(found, Fraction) else None  # an irrational power


def test_values_of_expressions_are_pythons() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b, c = rng.integers(0, 10, 3)
        one, two = rng.choice(["+", "-", "*", "/", "**"], 2)
        for expression in (f"{a} {one} {b}", f"({a} {one} {b}) {two} {c}", f"{a} {one} {b} {two} {c}"):
            found = value(expression)
            if found is not None:
                assert found == by_python(expression), expression
    assert value("(3 + 4) * 2") == 14 and value("7 / 2") == Fraction(7, 2) and value("2 ** 3 ** 2") == 512
    assert value("4 / (2 - 2)") is None and value("0 ** 0") == 1


def test_arithmetic_items_follow_the_published_rules() -> None:
    facts = arithmetic_facts(400, np.random.default_rng(0))
    assert len({fact.query for fact in facts}) == 400
    for fact in facts:
        expression = fact.query.removesuffix(" =")
        part, given = fact.stated.rsplit(" = ", 1)
        assert value(expression) == int(fact.answer) and 0 <= int(fact.answer) <= BOUND
        assert part in expression and value(part) != int(given) and 0 <= int(given) <= 9
        assert value(expression.replace(part, given)) == int(fact.others[0]) != int(fact.answer)
        item = make_item(fact, "sentence", np.random.default_rng(0))
        assert (item.context, item.prior, item.other, item.task) == (
            fact.stated,
            fact.answer,
            fact.others[0],
            "arithmetic",
        )


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("7", True),
        ("Seven", True),
        ("3 + 4 = 7.", True),
        ("the answer is 7", True),
        ("3 + 4 = 7\nso it is", True),
        ("71", True),  # the published rule takes what begins with it
        ("8", False),
        ("it is 7 then", False),
    ],
)
def test_the_published_rule_for_numbers(said: str, right: bool) -> None:
    assert matching.arithmetic(said, "7") is right
    assert matching.published("arithmetic") is matching.arithmetic and matching.published("base") is matching.prefix


def test_paragraphs_and_two_steps_of_the_projects_own_table() -> None:
    facts, rng = read_facts(BUILT_IN), np.random.default_rng(3)
    plain = {(fact.relation, fact.subject): fact for fact in facts.facts}
    for fact in facts_of(facts, "base", "paragraph", rng)[::50]:
        item = make_item(fact, "paragraph", rng)
        assert f"{fact.query} {item.other}." in item.context and item.prior not in item.context.split()
    for fact in facts_of(facts, "multihop", "paragraph", rng)[::20]:
        item = make_item(fact, "paragraph", rng)
        bridge = re.search(r"the answer is the same as for (.+)\.$", item.context)
        assert bridge is not None and item.task == "multihop"
        through = plain[fact.relation, bridge[1]]
        assert item.context.startswith(f"{through.query} {item.other}.") and through.subject != fact.subject
        assert split_of(through.subject) == split_of(fact.subject) and through.answer != item.other


ROW = {
    "subject": "Norway",
    "rel_p_id": "P36",
    "query": "Norway's capital city,",
    "object": "Huntington",
    "fact_paragraph": "Huntington is the capital of Norway.",
    "fact_parent": {"object": "Oslo"},
}


def test_files_give_the_tasks_that_they_hold(tmp_path: Path) -> None:
    def of(*rows: object) -> Facts:
        path = tmp_path / "facts.json"
        path.write_text(json.dumps(rows))
        return read_facts(str(path))

    rng = np.random.default_rng(0)
    base, steps = of(ROW), of({**ROW, "intermediate_paragraph": "Oslo is near."})
    assert [fact.task for fact in facts_of(base, "base", "paragraph", rng)] == ["base"]
    assert [fact.task for fact in facts_of(steps, "multihop", "paragraph", rng)] == ["multihop"]
    with pytest.raises(UsageError, match="no paragraphs for task=multihop; it has some for: base"):
        facts_of(base, "multihop", "paragraph", rng)
    with pytest.raises(UsageError, match="no paragraphs for task=base; it has some for: multihop"):
        facts_of(steps, "base", "paragraph", rng)
    with pytest.raises(UsageError, match="set task=base and contexts=sentence"):
        facts_of(of({**ROW, "fact_paragraph": None}), "base", "paragraph", rng)


def some_sets() -> Sets:
    rng = np.random.default_rng(0)
    items = [make_item(fact, "sentence", rng) for fact in read_facts(BUILT_IN).facts[:4]]
    return Sets(
        {
            ("base", "sentence"): items[:2],
            ("base", "paragraph"): items[:2],
            ("arithmetic", "sentence"): items[:1],
        },
        {"sentence": items[2:]},
        {"multihop, paragraph": "why"},
    )


def test_configurations_are_every_combination_that_there_is() -> None:
    sets = some_sets()
    ways = [(way.task, way.contexts, way.shots, way.told) for way in setups(sets, 2)]
    assert len(set(ways)) == len(ways) == 3 * 2 + 3 + 2
    assert ("base", "sentence", 2, "float") in ways and ("base", "paragraph", 2, "float") not in ways
    assert unpack(pack(sets)) == sets


def test_shown_pairs_carry_both_answers_before_the_question() -> None:
    session, (one, two, shot, _) = wb.load("organism/context-knob"), some_sets().items["base", "sentence"] * 2
    prompter = Prompter(session)
    text = session.text(prompter.ask(one, True, "instruction", [two]))
    bare = session.text(prompter.ask(one, True, "instruction"))
    assert len(text) > len(bare) and shot is one
    assert len(prompter.ask(one, True, "none", [two])) < len(prompter.ask(one, True, "instruction", [two]))
    assert prompter.ask(one, True, "none") == prompter.ask(one, False, "none") and INTENTS["none"] == ("", "")


def test_correlation_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=16)
    other = one + rng.normal(size=16)
    assert separation.pearson(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])
    rows = pd.DataFrame(
        {"task": "base", "told": "float", "separation": one, "random_separation": -one, "pair_accuracy": other}
    )
    line = separation.headline(rows, rng)
    assert line is not None and line.name == "separation_r" and line.n == 16 and line.control is not None
    assert line.control.value == pytest.approx(-np.corrcoef(one, other)[0, 1])
    assert line.low is not None and line.high is not None and line.low < separation.pearson(one, other) < line.high
    flat = separation.headline(rows.assign(separation=1.0), rng)
    assert flat is not None and flat.value is flat.low is flat.high is None
    assert separation.headline(rows[:3], rng) is None
    assert separation.headline(rows.assign(told="none"), rng) is None


def test_a_run_with_further_configurations_keeps_them_apart(tmp_path: Path) -> None:
    settings = {"n": 6, "n_train": 8, "n_validation": 4, "layers": (1,), "steps": 30, "configurations": 3, "shots": 1}
    prepared = prepare.prepare(ContextKnob(), wb.load("organism/context-knob"), "smoke", 0, settings)
    result = wb.open(execute.execute(prepared, tmp_path))
    found = {line["name"]: line for line in result.record["headline"]}
    assert found["separation_r"]["n"] == 8 and {"separation", "configurations"} <= set(result.figures)
    rows = pd.read_csv(result.folder / "tables" / "configurations.csv").set_index("configuration")
    assert rows.loc["base, sentence, zero-shot, steered", "pair_accuracy"] == 1
    assert rows.loc["base, sentence, zero-shot, steered", "random_pair_accuracy"] == 0
    assert rows.loc["multihop, paragraph, zero-shot, instruction", "items"] == 3
    assert any("arithmetic" in said for said in result.record["limits"])  # the organism has no words for it
    examples = pd.read_csv(result.folder / "tables" / "examples.csv")
    assert list(examples.columns) == ["arm", "context", "known", "set to prior", "set to context", "right"]
    assert len(examples) == 6 and any("8 configurations" in sentence for sentence in result.summary)
