"""Answers scored under many methods at once: every stream is read once, whatever is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from .method.methods import MODEL, Method
from .method.readings import Reading, Readings, joined
from .method.scores import score
from .reading import read
from .sources import Source, Sources
from .task.questions import Asked, Writer

if TYPE_CHECKING:
    from workbench.internals.lens import Through
    from workbench.progress import Reporter

ROWS = 128
"""Tokens of answers that are read at once."""
SCORINGS = ("softmax", "unnormalised")
"""Scores with log-softmax over them, and as they are."""


@dataclass(frozen=True)
class AnswerScores:
    """Sums over the tokens of each answer.

    scores `[method, scoring, question, answer]`, NaN where a question has no such answer; tokens `[question, answer]`;
    chosen: the hidden state that each method was contrasted with at every token, `[method][row]`; alpha: the size of
    the second term's weight there.
    """

    scores: np.ndarray
    tokens: np.ndarray
    chosen: list[np.ndarray]
    alpha: list[np.ndarray]


def score_answers(
    sources: Sources,
    asked: Sequence[Asked],
    methods: Sequence[Method],
    writer: Writer,
    through: Through,
    progress: Reporter,
    stage: str,
) -> AnswerScores:
    """The log scores of every answer under every method, both as they are and normalised."""
    width = max(len(one.answers) for one in asked)
    scores = np.full((len(methods), 2, len(asked), width), np.nan)
    tokens = np.zeros((len(asked), width), np.int64)
    chosen: list[list[np.ndarray]] = [[] for _ in methods]
    alpha: list[list[np.ndarray]] = [[] for _ in methods]
    done = 0
    progress.send(0, len(asked), stage)
    for places, readings in _read(sources, asked, methods, writer, through):
        answers = [answer for place in places for answer in asked[place].answers]
        targets = torch.tensor([token for answer in answers for token in answer])
        lengths = np.array([len(answer) for answer in answers])
        where = [(place, at) for place in places for at in range(len(asked[place].answers))]
        rows, columns = np.array(where).T
        tokens[rows, columns] = lengths
        starts = np.cumsum(lengths) - lengths
        for number, method in enumerate(methods):
            found = score(replace(method, normalise=True), readings, targets)
            assert found.at is not None
            own = found.at.double().cpu().numpy()
            hidden = (own == method.floor) & (method.plausibility > 0)
            bare = np.where(hidden, own, own + found.norm.double().cpu().numpy())
            for way, values in enumerate((own, bare)):
                scores[number, way, rows, columns] = np.add.reduceat(values, starts)
            chosen[number].append(found.chosen.cpu().numpy())
            if len(found.weights) > 1:
                alpha[number].append(found.weights[1].abs().cpu().numpy())
            progress.check()
        done += len(places)
        progress.send(done, len(asked), stage)
    strengths = [np.concatenate(each) if each else np.zeros(0) for each in alpha]
    return AnswerScores(scores, tokens, [np.concatenate(each) for each in chosen], strengths)


def _read(
    sources: Sources, asked: Sequence[Asked], methods: Sequence[Method], writer: Writer, through: Through
) -> Iterator[tuple[list[int], Readings]]:
    """What all streams say of a few questions at a time."""
    states: dict[str, set[int]] = {}
    for method in methods:
        for stream in method.streams:
            states.setdefault(stream, set()).update(method.states.get(stream, ()))
    order = [MODEL, *(stream for stream in states if stream != MODEL)]
    for places in _batches(asked):
        readings: dict[str, Reading] = {}
        for stream in order:
            source = sources.streams[stream]
            prompts = [prompt_of(source, asked[place], writer) for place in places]
            with source.enter() as session:
                wanted = sorted(states[stream])
                found = read(
                    session, prompts, [asked[place].answers for place in places], wanted, source.edits, through
                )
            readings[stream] = joined(found)
        yield places, readings


def prompt_of(source: Source, asked: Asked, writer: Writer) -> list[int]:
    """The prompt of a question in a stream, as ids."""
    if not source.before:
        return asked.prompt
    if asked.cut:
        return [*writer.ids(source.before), *asked.prompt]
    return writer.ids(source.before + asked.question.prompt)


def _batches(asked: Sequence[Asked]) -> Iterator[list[int]]:
    batch: list[int] = []
    rows = 0
    for place, one in enumerate(asked):
        count = sum(map(len, one.answers))
        if batch and rows + count > ROWS:
            yield batch
            batch, rows = [], 0
        batch.append(place)
        rows += count
    yield batch
