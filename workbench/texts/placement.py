"""Trials: a needle in a haystack as token ids, with the exact places of the needle and of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import WorkbenchError
from . import Needle

Span = tuple[int, int]
"""First position and the position after the last one."""


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
        start, end = self.needle
        answer = (self.answer[0] - (end - start), self.answer[1] - (end - start))
        return replace(
            self, ids=self.ids[:start] + self.ids[end:], needle=(start, start), value=(start, start), answer=answer
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
    passed = spans["needle"][0] / max(spans["needle"][0] + _span_length(offsets, context) - spans["needle"][1], 1)
    return Trial(tuple(ids[: answer[1]]), spans["needle"], value, answer, passed, needle.key, asked_depth=depth)


def _span_length(offsets: Sequence[tuple[int, int]], context: str) -> int:
    return _span(offsets, 0, len(context))[1]


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
