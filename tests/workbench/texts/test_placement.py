"""Where needles lie: exact spans by offsets, on a word tokenizer and on one that splits words."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.errors import UsageError
from workbench.probes.head_roles.ablation import matched, ranked, replace
from workbench.texts import Needle, make_needles, read_haystack, synthetic_haystack
from workbench.texts.placement import Unplaceable, place, place_at_length
from workbench.texts.vocabulary import word_tokenizer

SENTENCES = [f"The old baker walked slowly to the market {time}." for time in ("before noon", "on Monday", "at dawn")]


def letters() -> Any:
    """A byte-level tokenizer without merges: a token a byte, with the space before a word as a token of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("make", [lambda: word_tokenizer(512), letters], ids=["words", "letters"])
@pytest.mark.parametrize("depth", [0.0, 0.4, 1.0])
def test_spans_hold_exactly_the_needle_and_its_answer(make: Any, depth: float) -> None:
    tokenizer = make()
    needle = make_needles(1, np.random.default_rng(0))[0][0]
    trial = place(tokenizer, needle, SENTENCES, depth)

    def text(span: tuple[int, int]) -> str:
        return tokenizer.decode(trial.ids[slice(*span)]).strip().replace(" .", ".")

    assert text(trial.needle) == needle.sentence
    assert text(trial.value) == text(trial.answer) == needle.answer
    assert trial.ids[slice(*trial.value)] == trial.ids[slice(*trial.answer)]
    assert trial.answer[1] == len(trial.ids)
    assert trial.prompt == trial.ids[: trial.answer[0]]
    assert trial.depth == pytest.approx(depth, abs=0.2)
    unseen = trial.without_needle()
    assert unseen.ids == trial.ids[: trial.needle[0]] + trial.ids[trial.needle[1] :]
    assert unseen.ids[slice(*unseen.answer)] == trial.ids[slice(*trial.answer)]
    if depth in (0.0, 1.0):
        assert trial.depth == depth


@pytest.mark.parametrize("make", [lambda: word_tokenizer(512), letters], ids=["words", "letters"])
@pytest.mark.parametrize("depth", [0.0, 0.4, 1.0])
def test_a_prompt_has_exactly_the_length_that_was_asked_for(make: Any, depth: float) -> None:
    tokenizer, haystack = make(), synthetic_haystack()
    needle = make_needles(1, np.random.default_rng(0))[0][0]
    least = len(place(tokenizer, needle, [], 0.0).prompt)
    for length in (least + 16, least + 61, least + 400):
        trial = place_at_length(tokenizer, needle, haystack, length, depth, np.random.default_rng(length))
        assert len(trial.prompt) == length and trial.answer == (length, len(trial.ids))
        text = [tokenizer.decode(trial.ids[slice(*span)]).strip().replace(" .", ".") for span in (
            trial.needle, trial.value, trial.answer, (trial.question, length)
        )]  # fmt: skip
        assert text[0] == needle.sentence and text[1] == text[2] == needle.answer
        assert text[3].startswith("Question") and needle.question.rstrip("?") in text[3]
        assert trial.ids[slice(*trial.value)] == trial.ids[slice(*trial.answer)]
        around = trial.needle[0] + trial.question - trial.needle[1]
        assert trial.depth == trial.needle[0] / around and (around < 400 or abs(trial.depth - depth) < 0.15)
        assert place(tokenizer, needle, [], depth).without_needle().question == 0
    with pytest.raises(UsageError, match="leave 15 for the text around the needle"):
        place_at_length(tokenizer, needle, haystack, least + 15, depth, np.random.default_rng(0))


def test_a_haystack_that_ends_too_soon_says_so(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("A baker sold cake. A tailor bought bread.")
    haystack, tokenizer = read_haystack(tmp_path / "short.txt"), word_tokenizer(512)
    needle = make_needles(1, np.random.default_rng(0))[0][0]
    with pytest.raises(UsageError, match=r"haystack 'short\.txt' has 10 tokens and \d+ are needed"):
        place_at_length(tokenizer, needle, haystack, 200, 0.5, np.random.default_rng(0))


def test_an_answer_with_other_tokens_in_its_needle_is_not_placed() -> None:
    needle = Needle("k", 'They said "tiger", no more.', "What did they say?", "They said", "tiger")

    class Merging:
        """Writes the quoted word as one token and the plain one as another."""

        def __call__(self, text: str, **_: Any) -> dict[str, Any]:
            ids, offsets, at = [], [], 0
            for word in text.split(" "):
                ids.append(zlib.crc32(word.encode()))
                offsets.append((at, at + len(word)))
                at += len(word) + 1
            return {"input_ids": ids, "offset_mapping": offsets}

    with pytest.raises(Unplaceable, match="other tokens inside the needle"):
        place(Merging(), needle, SENTENCES, 0.5)


def test_heads_are_ranked_by_score_and_then_by_attention() -> None:
    score, mass = np.array([[0.0, 0.5], [0.0, 0.0]]), np.array([[0.1, 0.2], [0.4, 0.3]])
    assert ranked(score, mass) == [(0, 1), (1, 0), (1, 1), (0, 0)]


def test_random_sets_match_the_top_set_per_layer_and_borrow_only_where_they_must() -> None:
    top = [(1, 0), (1, 1), (3, 2)]
    seen = set()
    for seed in range(30):
        found = matched(top, layers=4, heads=4, rng=np.random.default_rng(seed))
        assert found.borrowed == 0
        assert [layer for layer, _ in found.heads] == [1, 1, 3]
        assert len(set(found.heads)) == 3
        assert not set(found.heads) & set(top)
        seen.update(found.heads)
    assert seen == {(1, 2), (1, 3), (3, 0), (3, 1), (3, 3)}
    crowded = matched([(2, 0), (2, 1), (2, 2)], layers=4, heads=4, rng=np.random.default_rng(0))
    assert crowded.borrowed == 2
    assert sorted(layer for layer, _ in crowded.heads) == [1, 1, 2]


def test_replacements_are_what_they_are_called() -> None:
    states = np.arange(2 * 5 * 3 * 4, dtype=np.float32).reshape(2, 5, 3, 4)
    rng = np.random.default_rng(0)
    zero, mean, drawn = (replace([(1, 2)], states, how, 7, rng)[0] for how in ("zero", "mean", "resample"))
    assert zero.value == 0.0
    assert np.asarray(mean.value) == pytest.approx(states[1, :, 2].mean(0))
    assert np.asarray(drawn.value).shape == (7, 4)
    assert all(any((row == state).all() for state in states[1, :, 2]) for row in np.asarray(drawn.value))
    assert all(
        str(edit.site) == "z.1.2" and edit.positions is None and edit.during == "all" for edit in (zero, mean, drawn)
    )
