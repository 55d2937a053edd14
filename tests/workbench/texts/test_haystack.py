"""Haystacks and needles: deterministic, disjoint, and honest about what they cannot do."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from workbench.errors import UsageError
from workbench.texts import (
    Needle,
    fill,
    make_needles,
    read_haystack,
    read_needles,
    synthetic_haystack,
    word_lists,
)
from workbench.texts.haystack import split_sentences
from workbench.texts.vocabulary import vocabulary, word_tokenizer


def test_word_lists_share_no_word_with_the_needles() -> None:
    lists = {name: set(" ".join(value).split()) for name, value in vars(word_lists).items() if name.isupper()}
    for first, second in itertools.combinations(lists, 2):
        assert not lists[first] & lists[second], (first, second)


def test_the_synthetic_haystack_is_the_same_for_the_same_seed() -> None:
    def first(seed: int) -> list[str]:
        return list(itertools.islice(synthetic_haystack().sentences(np.random.default_rng(seed)), 50))

    assert first(3) == first(3) != first(4)
    assert all(sentence.endswith(".") for sentence in first(3))


def test_fill_takes_what_fits_and_refuses_a_text_that_is_too_short(tmp_path: Path) -> None:
    def count(text: str) -> int:
        return len(text.split())

    taken = fill(synthetic_haystack(), 100, count, np.random.default_rng(0))
    assert 80 < sum(map(count, taken)) <= 100
    path = tmp_path / "short.txt"
    path.write_text("One two three. Four five six! Seven eight?", encoding="utf-8")
    assert fill(read_haystack(path), 7, count, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"has 8 tokens and 50 are needed"):
        fill(read_haystack(path), 50, count, np.random.default_rng(0))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"  \n "])
def test_a_haystack_that_cannot_be_read_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="give a text file, or 'synthetic'"):
        read_haystack(path)


def test_sentences_end_where_a_stop_and_a_space_are() -> None:
    assert split_sentences("A cat.  It ran 3.5 miles!\nWhy? Because") == [
        "A cat.",
        "It ran 3.5 miles!",
        "Why?",
        "Because",
    ]


def test_the_two_sets_of_needles_share_no_place_and_no_word_of_an_answer() -> None:
    first, second = make_needles(250, np.random.default_rng(0))
    assert len({needle.key for needle in first}) == len({needle.answer for needle in first}) == len(first) == 250
    places = [{needle.key.split()[-1] for needle in each} for each in (first, second)]
    values = [set(" ".join(needle.answer for needle in each).split()) for each in (first, second)]
    assert not places[0] & places[1]
    assert not values[0] & values[1]
    with pytest.raises(UsageError, match="ask for fewer"):
        make_needles(10**6, np.random.default_rng(0))


def test_answers_of_one_word_run_out_before_keys_do() -> None:
    values = len(word_lists.VALUES) // 2
    first, second = make_needles(values, np.random.default_rng(0), words_in_answer=1)
    assert len({needle.answer for needle in (*first, *second)}) == 2 * values
    with pytest.raises(UsageError, match=f"there are {values} of one kind; ask for fewer"):
        make_needles(values + 1, np.random.default_rng(0), words_in_answer=1)


def test_needles_from_a_file_are_split_by_key_and_answer(tmp_path: Path) -> None:
    path = tmp_path / "needles.jsonl"
    lines = [
        {
            "sentence": f"Box {n} holds item{n // 2}x.",
            "question": f"What does box {n} hold?",
            "answer": f"item{n // 2}x",
        }
        for n in range(12)
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    first, second = read_needles(path, np.random.default_rng(0))
    assert len(first) == len(second) == 6
    assert not {needle.answer for needle in first} & {needle.answer for needle in second}


@pytest.mark.parametrize("line", ["{", "[1]", '{"sentence": "a"}', '{"sentence": 1, "question": "q", "answer": "a"}'])
def test_a_line_that_is_no_needle_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "needles.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(UsageError, match=r"needles\.jsonl', line 1: .*; give a file of JSON lines, or 'needles'"):
        read_needles(path, np.random.default_rng(0))


def test_an_answer_must_stand_in_its_needle_once() -> None:
    with pytest.raises(UsageError, match="exactly once"):
        Needle("k", "It is red, red.", "What?", "It is", "red")


def test_the_word_tokenizer_knows_every_word_that_is_generated() -> None:
    tokenizer = word_tokenizer(512)
    assert len(set(vocabulary())) == len(vocabulary()) == len(tokenizer) - 2
    texts = list(itertools.islice(synthetic_haystack().sentences(np.random.default_rng(1)), 400))
    for needle in make_needles(100, np.random.default_rng(2))[0]:
        texts.append(f"{needle.sentence}\n\nQuestion: {needle.question}\nAnswer: {needle.prefix} {needle.answer}")
    assert all(tokenizer.unk_token_id not in tokenizer(text)["input_ids"] for text in texts)
