"""Scores of heads on hand-made patterns, where the right number can be said beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.probes.head_roles.scores import RULES, chance_score, repeat_targets, retrieval_score, rouge_recall

IDS = [5, 6, 7, 8, 9, 10, 11, 12, 7, 8, 9]
NEEDLE, VALUE = (1, 6), (2, 5)
EMITTED = [7, 8, 9]


def pointed(*keys: int) -> np.ndarray:
    return np.array(keys).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((2, 3, 4), {"answer": 1.0, "paper": 3 / 5, "released": 3 / 5}),
        ((2, 2, 4), {"answer": 2 / 3, "paper": 2 / 5, "released": 2 / 5}),
        # the right tokens outside the needle, and the needle at the wrong tokens, are no copies
        ((8, 9, 10), {"answer": 0.0, "paper": 0.0, "released": 0.0}),
        ((3, 4, 2), {"answer": 0.0, "paper": 0.0, "released": 0.0}),
        ((0, 0, 0), {"answer": 0.0, "paper": 0.0, "released": 0.0}),
    ],
)
def test_retrieval_score_of_a_hand_made_pattern(keys: tuple[int, ...], expected: dict[str, float]) -> None:
    for rule in RULES:
        score = retrieval_score(pointed(*keys), IDS, EMITTED, NEEDLE, VALUE, rule)
        assert score.shape == (1, 1)
        assert score.item() == pytest.approx(expected[rule]), rule


def test_only_the_released_rule_counts_a_repeated_token_twice() -> None:
    emitted, keys = [7, 7, 8], pointed(2, 2, 3)
    found = {rule: retrieval_score(keys, IDS, emitted, NEEDLE, VALUE, rule).item() for rule in RULES}
    assert found == pytest.approx({"answer": 2 / 3, "paper": 2 / 5, "released": 3 / 5})


def test_the_needle_outside_the_answer_counts_by_the_paper_only() -> None:
    keys = pointed(1, 3, 5)
    found = {rule: retrieval_score(keys, IDS, [6, 8, 10], NEEDLE, VALUE, rule).item() for rule in RULES}
    assert found == pytest.approx({"answer": 1 / 3, "paper": 3 / 5, "released": 3 / 5})


def test_each_head_is_scored_by_itself() -> None:
    keys = np.array([[[2, 3, 4], [0, 0, 0]], [[2, 0, 0], [4, 4, 4]]])
    score = retrieval_score(keys, IDS, EMITTED, NEEDLE, VALUE, "answer")
    assert score == pytest.approx(np.array([[1, 0], [1 / 3, 1 / 3]]))


def test_chance_gives_a_copying_head_nothing_and_a_misaligned_one_its_due() -> None:
    assert chance_score(pointed(2, 3, 4), IDS, EMITTED, NEEDLE, VALUE, "answer").item() == 0
    # always the token after the next one: right for one of the two wrong orders
    assert chance_score(pointed(3, 4, 2), IDS, EMITTED, NEEDLE, VALUE, "answer").item() == pytest.approx(0.5)
    assert np.isnan(chance_score(pointed(2), IDS, [7], NEEDLE, (2, 3), "answer")).all()


def test_repeat_targets_are_where_constructed_patterns_look() -> None:
    half = 5
    rows = np.zeros((4, half, 2 * half))
    query = np.arange(half)
    rows[0, query, query + 1] = 1  # induction
    rows[1, query, half + query - 1] = 1  # previous token
    rows[2, query, query] = 1  # duplicate token
    rows[3] = np.tril(np.ones((half, 2 * half)), half) / (half + 1 + query)[:, None]  # uniform
    found = {name: rows[:, query, key].mean(-1) for name, key in repeat_targets(half).items()}
    uniform = np.mean(1 / (half + 1 + query))
    assert found["induction"] == pytest.approx([1, 0, 0, uniform])
    assert found["previous_token"] == pytest.approx([0, 1, 0, uniform])
    assert found["duplicate_token"] == pytest.approx([0, 0, 1, uniform])


def test_rouge_recall() -> None:
    assert rouge_recall("tiger lemon tiger", "a Tiger and a lemon") == pytest.approx(2 / 3)
    assert rouge_recall("tiger", "") == 0
