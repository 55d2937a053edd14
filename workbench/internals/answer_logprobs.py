"""The log-probability of given answers: every prompt is run once, and each of its answers after it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import UsageError
from ..progress import Reporter
from .attention_edits import AttentionEdit
from .cache_checks import checked, forgets
from .cached_prompts import CachedPrompts, fill
from .edit_rows import for_rows
from .edits import EditLike, EditValue, Frame, listed, refuse_learning
from .engines.base import Engine, Hook, Inputs
from .hooks import edit_hooks, known
from .tokens import TokenBatch

Rows = Sequence[Sequence[int]]

TOKENS = 1 << 14
"""TokenBatch of prompts whose keys and values are held at once, for the prompts and once more for their answers."""
LOGITS = 1 << 26
"""Logits that are held at once."""


class AnswerLogits(NamedTuple):
    """The logits `[token, vocabulary]` before each token of one answer, by the places of prompt and answer."""

    prompt: int
    answer: int
    logits: Tensor


@dataclass(frozen=True, eq=False)
class AnswerLogprobs:
    """Log-probabilities (nats) of answers after their prompts, each by `[prompt][answer]`.

    ids: the answers' token ids. tokens: the log-probability of each token after those before it, `[token]`.
    first_choice: whether each is the likeliest one there, `[token]`. The tensors `sum`, `mean` and `counts` are
    `[prompt, answer]`; where a prompt has fewer answers than another they end in NaN (in 0 for `counts`).
    """

    ids: list[list[list[int]]]
    tokens: list[list[Tensor]]
    first_choice: list[list[Tensor]]

    @property
    def counts(self) -> Tensor:
        """How many tokens each answer has."""
        return self._table([[float(len(ids)) for ids in row] for row in self.ids], 0.0).long()

    @property
    def sum(self) -> Tensor:
        """The log-probability of each whole answer."""
        return self._table([[float(each.sum()) for each in row] for row in self.tokens])

    @property
    def mean(self) -> Tensor:
        """The mean log-probability of a token of each answer."""
        return self._table([[float(each.mean()) for each in row] for row in self.tokens])

    @property
    def said(self) -> Tensor:
        """Whether every token of an answer is the likeliest one after those before it, bool `[prompt, answer]`."""
        return self._table([[float(each.all()) for each in row] for row in self.first_choice], 0.0).bool()

    @staticmethod
    def _table(rows: list[list[float]], missing: float = math.nan) -> Tensor:
        width = max(map(len, rows))
        return torch.tensor([[*row, *[missing] * (width - len(row))] for row in rows], dtype=torch.float64)

    def placed(self, places: Sequence[Sequence[tuple[int, int]]]) -> AnswerLogprobs:
        """The same answers at other places `(prompt, answer)`, given by `[prompt][answer]` of this."""
        order = sorted((place, i, j) for i, row in enumerate(places) for j, place in enumerate(row))
        found = AnswerLogprobs([], [], [])
        for (prompt, _), i, j in order:
            for mine, theirs in zip(found._lists, self._lists, strict=True):
                if prompt == len(mine):
                    mine.append([])
                mine[prompt].append(theirs[i][j])
        return found

    @property
    def _lists(self) -> tuple[list[Any], ...]:
        return self.ids, self.tokens, self.first_choice

    def __repr__(self) -> str:
        return f"AnswerLogprobs({len(self.ids)} prompts, {sum(map(len, self.ids))} answers)"


def answer_logprobs(
    engine: Engine,
    prompts: Rows,
    answers: Sequence[Rows],
    edits: EditLike = (),
    progress: Reporter | None = None,
) -> AnswerLogprobs:
    """The log-probability of each of a prompt's answers, in float32 or in the model's type where that is finer.

    Prompts and answers are token ids, `[prompt][token]` and `[prompt][answer][token]`. Edits act as in generation: at
    `positions` of the prompt, at all tokens, or with `during` on the answers' tokens or the prompt's only; a tensor in
    them may have one entry a prompt. Raises `UsageError` for an answer without tokens or a prompt without answers.
    """
    found = AnswerLogprobs(
        [[list(ids) for ids in row] for row in answers], [[] for _ in answers], [[] for _ in answers]
    )
    for prompt, answer, logits in answer_logits(engine, prompts, answers, edits, progress):
        ids = torch.tensor(list(answers[prompt][answer]), device=logits.device)[:, None]
        logprobs = logits.log_softmax(-1, torch.promote_types(logits.dtype, torch.float32))
        found.tokens[prompt].append(logprobs.gather(-1, ids)[:, 0].cpu())
        found.first_choice[prompt].append((logits.argmax(-1) == ids[:, 0]).cpu())
    return found


def answer_logits(
    engine: Engine,
    prompts: Rows,
    answers: Sequence[Rows],
    edits: EditLike = (),
    progress: Reporter | None = None,
) -> Iterator[AnswerLogits]:
    """The logits before each token of each answer, in the order of prompts and answers; see `answer_logprobs`.

    Several of these over the same answers go side by side, whatever their prompts and models.
    """
    _check(engine, prompts, answers)
    edits = _checked_edits(edits)
    progress = progress or Reporter()
    caching = checked(engine)
    if caching.why is not None and any(isinstance(edit, AttentionEdit) for edit in edits):
        raise UsageError(f"edits of attention need answers that go on from their prompts, and here {caching.why}")
    done, total = 0, sum(map(len, answers))
    progress.send(0, total, "answers")
    everything = TokenBatch.of(prompts)
    for rows in _batches(prompts):
        parts = [prompts[row] for row in rows], [answers[row] for row in rows]
        changed = [for_rows(edit, rows, everything, max(map(len, parts[0]))) for edit in edits]
        if caching.why is None and not forgets(engine, edits):
            share = not edits and len(rows) > 1 and caching.padding_between
            found = _branched(engine, *parts, changed, share)
        else:
            found = _whole(engine, *parts, changed, caching.alone)
        for prompt, answer, logits in found:
            yield AnswerLogits(rows[prompt], answer, logits)
            done += 1
            progress.send(done, total, "answers")


def _check(engine: Engine, prompts: Rows, answers: Sequence[Rows]) -> None:
    if len(prompts) != len(answers):
        raise UsageError(
            f"there are {len(prompts)} prompts and answers to {len(answers)}: give each prompt its answers"
        )
    for place, row in enumerate(answers):
        if not len(row) or not all(len(ids) for ids in row):
            raise UsageError(f"prompt {place} has no answer, or one without tokens: give at least one token")
    known(engine, TokenBatch.of(prompts))
    known(engine, TokenBatch.of([ids for row in answers for ids in row]))


def _checked_edits(edits: EditLike) -> list[EditValue]:
    refuse_learning(edits, "an answer's log-probability")
    found = listed(edits)
    for edit in found:
        if not isinstance(edit.during, str):  # type: ignore[attr-defined]
            raise UsageError(f"the tokens of an answer are no steps of a generation: leave out during of {edit}")
    return found


def _batches(prompts: Rows) -> Iterator[list[int]]:
    """Prompts in their order, as many at once as their padded tokens may be."""
    batch: list[int] = []
    longest = 0
    for row, prompt in enumerate(prompts):
        longest = max(longest, len(prompt))
        if batch and longest * (len(batch) + 1) > TOKENS:
            yield batch
            batch, longest = [], len(prompt)
        batch.append(row)
    yield batch


def _branched(
    engine: Engine, prompts: Rows, answers: Sequence[Rows], edits: Sequence[EditValue], share: bool
) -> Iterator[AnswerLogits]:
    """Prompts once, their answers after the kept keys and values."""
    cached = fill(engine, prompts, share, hold_back=0, edits=edits)
    assert cached.logits is not None
    firsts = cached.logits
    for part in _answer_batches(engine, cached, answers):
        rows = [prompt for prompt, _ in part]
        before = [list(answers[prompt][answer][:-1]) for prompt, answer in part]
        width = max(len(prompts[row]) for row in rows)
        changed = [for_rows(edit, rows, TokenBatch.of(prompts), width) for edit in edits]
        later = _later(engine, cached, rows, before, changed)
        for place, (prompt, answer) in enumerate(part):
            yield AnswerLogits(prompt, answer, torch.cat([firsts[prompt, None], later[place, : len(before[place])]]))


def _later(
    engine: Engine,
    cached: CachedPrompts,
    rows: list[int],
    before: list[list[int]],
    edits: Sequence[EditValue],
) -> Tensor:
    """The logits after each token `[row, token, vocabulary]` of what follows prompts."""
    assert cached.logits is not None
    width = max(map(len, before))
    if width == 0:
        return cached.logits.new_zeros(len(rows), 0, cached.logits.shape[-1])
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    for row, tokens in enumerate(before):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    places = [(row, column) for row, tokens in enumerate(before) for column in range(len(tokens))]
    before_them = TokenBatch(torch.zeros(len(rows), cached.mask.shape[1], dtype=torch.int64), cached.lengths[rows])
    frame = _AnswerFrame(before_them, places, left=True)
    with torch.no_grad():
        hooks = edit_hooks(engine, edits, frame)
        logits = engine.run(cached.pick(rows).follow(ids), hooks)
    assert logits is not None
    return logits


def _whole(
    engine: Engine, prompts: Rows, answers: Sequence[Rows], edits: Sequence[EditValue], alone: bool
) -> Iterator[AnswerLogits]:
    """Every answer with its prompt before it, for models that cannot go on from a cache."""
    for prompt, (ids, several) in enumerate(zip(prompts, answers, strict=True)):
        step = 1 if alone else max(1, min(TOKENS // len(ids), len(several)))
        for start in range(0, len(several), step):
            part = several[start : start + step]
            tokens = TokenBatch.of([[*ids, *answer[:-1]] for answer in part])
            columns = torch.arange(len(ids) - 1, tokens.width)
            changed = [for_rows(edit, [prompt] * len(part), TokenBatch.of(prompts), len(ids)) for edit in edits]
            with torch.no_grad():
                hooks = _hooks_of_both(engine, ids, part, changed)
                logits = engine.run(Inputs(tokens.ids), hooks, logits=columns)
            assert logits is not None
            for place, answer in enumerate(part):
                yield AnswerLogits(prompt, start + place, logits[place, : len(answer)])


def _hooks_of_both(engine: Engine, prompt: Sequence[int], answers: Rows, edits: Sequence[EditValue]) -> list[Hook]:
    """Edits in a run over prompts and answers: each once as in a prompt, and once as in generation."""
    first = len(prompt)
    places = [(row, first + at) for row, answer in enumerate(answers) for at in range(len(answer) - 1)]
    tokens = TokenBatch.of([list(prompt)] * len(answers))
    frames = [Frame(tokens), *([_AnswerFrame(tokens, places)] if places else [])]
    return [hook for edit in edits for frame in frames for hook in edit_hooks(engine, [edit], frame)]


class _AnswerFrame(Frame):
    """TokenBatch of answers, several a row, which an edit sees as it would see them generated one by one."""

    def __init__(self, tokens: TokenBatch, places: Sequence[tuple[int, int]], left: bool = False) -> None:
        super().__init__(tokens, left, generating=True)
        self._places = torch.tensor(list(places))

    def columns(self, positions: object, count: int) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns = self._places.unbind(-1)
        return rows, columns, torch.zeros_like(rows)


def _answer_batches(engine: Engine, cached: CachedPrompts, answers: Sequence[Rows]) -> Iterator[list[tuple[int, int]]]:
    """Answers in their order, as many at once as the copies of their prompts and their logits may be."""
    prompt, vocabulary = cached.mask.shape[1], engine.architecture.shape.vocabulary
    batch: list[tuple[int, int]] = []
    longest = 0
    for place in ((row, answer) for row, several in enumerate(answers) for answer in range(len(several))):
        longest = max(longest, len(answers[place[0]][place[1]]))
        count = len(batch) + 1
        if batch and (count * (prompt + longest) > TOKENS or count * longest * vocabulary > LOGITS):
            yield batch
            batch, longest = [], len(answers[place[0]][place[1]])
        batch.append(place)
    yield batch
