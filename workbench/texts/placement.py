"""Trials: a needle in a haystack as token ids, with the exact places of the needle and of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import UsageError, WorkbenchError
from . import Haystack, Needle

Span = tuple[int, int]
"""First position and the position after the last one."""
LEAST = 16
"""Tokens that must be left around a needle."""


class Unplaceable(WorkbenchError):
    """A needle that this tokenizer cannot place exactly; the message is the reason."""


@dataclass(frozen=True)
class Trial:
    """One prompt with its answer: `ids` holds both, spans count positions in it."""

    ids: tuple[int, ...]
    needle: Span
    """The sentence that was hidden."""
    value: Span
    """The answer's tokens inside that sentence."""
    answer: Span
    """The answer's tokens at the end, which the model should emit."""
    question: int
    """Position of the question's first token, after which the haystack has none."""
    depth: float
    """Share of the haystack's tokens before the needle."""
    key: str
    asked_length: int = 0
    """Tokens that the prompt should have at most; set by whoever chose the haystack."""
    asked_depth: float = 0.0

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.ids[: self.answer[0]]

    def without_needle(self) -> Trial:
        """The same question over the same haystack, the needle's tokens taken out; its needle and value are empty."""
        start, _ = self.needle
        return replace(self._cut(*self.needle), needle=(start, start), value=(start, start), depth=self.depth)

    def shortened(self, tokens: int) -> Trial | None:
        """The same with `tokens` of the haystack taken out, before the question or else before the needle.

        None where neither place has so many.
        """
        if self.question - self.needle[1] >= tokens:
            return self._cut(self.question - tokens, self.question)
        return self._cut(self.needle[0] - tokens, self.needle[0]) if self.needle[0] >= tokens else None

    def _cut(self, start: int, end: int) -> Trial:
        """Take out tokens of the prompt; what lies after them moves."""

        def moved(span: Span) -> Span:
            first, last = (at - (end - start) if at >= end else at for at in span)
            return first, last

        needle, value, answer = (moved(span) for span in (self.needle, self.value, self.answer))
        question, _ = moved((self.question, self.question))
        return replace(
            self,
            ids=self.ids[:start] + self.ids[end:],
            question=question,
            depth=_passed(needle, question),
            needle=needle,
            value=value,
            answer=answer,
        )


def place(tokenizer: Any, needle: Needle, sentences: Sequence[str], depth: float) -> Trial:
    """Hide a needle at the sentence boundary nearest to `depth` and find its tokens by their character offsets.

    Raises `Unplaceable` if the answer's tokens are not the same inside the needle and at the end.
    """
    before, after = _split(sentences, depth)
    head = " ".join(before) + (" " if before else "")
    context = " ".join([*before, needle.sentence, *after])
    begin = f"{needle.prefix} " if needle.prefix else ""
    question = f"\n\nQuestion: {needle.question}\nAnswer: {begin}".rstrip()
    prompt = context + question
    text = f"{prompt} {needle.answer}"
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    start = len(head)
    inside = start + needle.sentence.index(needle.answer)
    spans = {
        "needle": _span(offsets, start, start + len(needle.sentence)),
        "value": _span(offsets, inside, inside + len(needle.answer)),
        "answer": _span(offsets, len(prompt) + 1, len(text)),
    }
    value, answer = spans["value"], spans["answer"]
    alone = tokenizer(prompt)["input_ids"]
    # the blank before the answer may be a token of its own
    if len(alone) > answer[0] or ids[: len(alone)] != alone:
        raise Unplaceable("the answer changes the prompt's tokens")
    if ids[slice(*value)] != ids[slice(*answer)]:
        raise Unplaceable("the answer has other tokens inside the needle")
    end = _span(offsets, 0, len(context))[1]
    passed = _passed(spans["needle"], end)
    return Trial(tuple(ids[: answer[1]]), spans["needle"], value, answer, end, passed, needle.key, asked_depth=depth)


def place_at_length(
    tokenizer: Any, needle: Needle, haystack: Haystack, length: int, depth: float, rng: np.random.Generator
) -> Trial:
    """The same in as much of a haystack as makes the prompt exactly `length` tokens long; its end may be cut short.

    Raises `UsageError` if the length leaves too little room, or the haystack ends before it, and `Unplaceable`.
    """

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    bare = place(tokenizer, needle, [], 0.0)
    room = length - len(bare.prompt)
    if room < LEAST:
        raise UsageError(f"{length} tokens leave {room} for the text around the needle; give a larger length")
    sentences: list[str] = []
    used = 0
    for sentence in haystack.sentences(rng):
        sentences.append(sentence)
        used += count(f" {sentence}")
        if used < room:
            continue
        trial = place(tokenizer, needle, sentences, depth)
        # sentences may have fewer tokens together than one by one
        surplus = len(trial.prompt) - length
        if surplus >= 0 and (found := trial.shortened(surplus)) is not None:
            return found
    raise UsageError(f"haystack {haystack.name!r} has {used} tokens and {room} are needed around the needle")


def _passed(needle: Span, end: int) -> float:
    """Share of the tokens around the needle, which are as many as `end` with it, that lie before it."""
    return needle[0] / max(needle[0] + end - needle[1], 1)


def _split(sentences: Sequence[str], depth: float) -> tuple[Sequence[str], Sequence[str]]:
    lengths = [len(sentence) + 1 for sentence in sentences]
    total, passed, at = sum(lengths), 0, 0
    while at < len(lengths) and passed + lengths[at] / 2 < depth * total:
        passed += lengths[at]
        at += 1
    return sentences[:at], sentences[at:]


def _span(offsets: Sequence[tuple[int, int]], start: int, end: int) -> Span:
    inside = [index for index, (a, b) in enumerate(offsets) if a < end and b > start]
    return inside[0], inside[-1] + 1
