"""Questions and conflicts are read as their formats say, and files that are not so are refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench.errors import UsageError
from workbench.probes.layer_contrast import heads
from workbench.probes.layer_contrast.task.conflicts import agreeing, conflicting, prior_answer, read_conflicts
from workbench.probes.layer_contrast.task.questions import Writer, read_completions, read_questions

TRUTHFUL = """Type,Question,Best Answer,Correct Answers,Incorrect Answers
a,Is it so?,No comment,It is so; No comment.,It is not; Never
"""


def test_truthfulqa(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TRUTHFUL, encoding="utf-8")
    questions = read_questions(str(tmp_path / "t.csv"))
    (one,) = questions.questions
    assert one.answers == (" No comment.", " It is so.", " It is not.", " Never.") and one.true == 2
    assert one.prompt.endswith("\nQ: Is it so?\nA:") and one.prompt.count("\nQ:") == 7


def test_factor_and_facts(tmp_path: Path) -> None:
    header = "full_prefix,turncated_prefixes,completion,contradiction_0,contradiction_1"
    (tmp_path / "f.csv").write_text(f"{header}\nx,Some text. ,It holds.,It fails.,It ends.\n", encoding="utf-8")
    (one,) = read_completions(str(tmp_path / "f.csv")).questions
    assert (one.prompt, one.answers, one.true) == ("Some text.", (" It holds.", " It fails.", " It ends."), 1)
    facts = read_questions("facts")
    assert len(facts.questions) > 500 and read_questions("facts") == facts
    assert len(
        {name for split in ("train", "validation", "test") for name in (q.name for q in facts.of(split))}
    ) == len(  # type: ignore[arg-type]
        {question.name for question in facts.questions}
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Question,Correct Answers\na,b\n", "it has no column 'Incorrect Answers'"),
        ("Question,Correct Answers,Incorrect Answers\na,b,\n", "row 1: a question needs a true and a false answer"),
        ("Question,Correct Answers,Incorrect Answers\na,b\n", "row 1: a row has fewer cells"),
        ("", "it has no rows"),
    ],
)
def test_other_tables_are_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=match):
        read_questions(str(tmp_path / "t.csv"))


def test_knowledge_conflicts(tmp_path: Path) -> None:
    lines = [
        {"input_index": 0, "assigned_process": 0, "context_string": "It is Oslo.\nWhere?\nA:", "gold_answers": "Oslo"},
        {"input_index": 0, "assigned_process": 1, "context_string": "Where?\nA:", "gold_answers": "Oslo"},
        {"input_index": 1, "assigned_process": 0, "context_string": "lonely", "gold_answers": "x"},
    ]
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (one,) = read_conflicts(str(path)).items
    assert (one.told, one.bare, one.gold) == ("It is Oslo.\nWhere?\nA:", "Where?\nA:", "Oslo")
    assert conflicting(one, "Paris") and not conflicting(one, "oslo.")
    same = agreeing(one, "Paris")
    assert same is not None and same.told == "It is Paris.\nWhere?\nA:" and same.gold == "Paris"
    assert agreeing(one, "") is None and agreeing(one, "a b c d e f g h i") is None
    assert prior_answer(" Paris, which is large.\nAnd") == "Paris"
    path.write_text(json.dumps(lines[0] | {"gold_answers": ""}), encoding="utf-8")
    with pytest.raises(UsageError, match="line 1: context_string and gold_answers are texts"):
        read_conflicts(str(path))
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(UsageError, match="line 1: a line has input_index"):
        read_conflicts(str(path))


def test_heads_of_a_table_and_random_ones_beside_them(tmp_path: Path) -> None:
    session = wb.load("organism/head-roles")
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "heads.csv"
    table.write_text("layer,head,copy_score\n2,1,0.9\n3,2,0.8\n0,0,0.1\n", encoding="utf-8")
    scores = heads.from_table(str(tmp_path), session)
    named = heads.top(scores, 5)
    assert named == [(2, 1), (3, 2)], "at most an eighth of 16 heads"
    beside = heads.random_beside(named, 4, 4, np.random.default_rng(0))
    assert [layer for layer, _ in beside] == [2, 3] and not set(beside) & set(named)
    assert len(heads.random_beside([(0, 0), (0, 1)], 2, 2, np.random.default_rng(0))) == 2
    table.write_text("layer,head,copy_score\n9,1,0.9\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"no head 9\.1 in this model"):
        heads.from_table(str(table), session)


def test_answers_have_the_tokens_that_follow_their_prompt() -> None:
    session = wb.load("organism/layer-contrast")
    writer = Writer(session)
    asked = [one for question in read_questions("facts").questions if (one := writer.asked(question)) is not None]
    assert len(asked) == 48
    for one in asked:
        assert all(len(answer) == 2 for answer in one.answers) and len(one.answers) == 4
