"""Prompts with their answers: from what people write to token ids, the boundary between the two included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from .tokens import TokenBatch

if TYPE_CHECKING:
    from .prompts import Boundary, Prompt, Prompts

Answer = "str | Tensor | Sequence[int]"
"""A text or token ids."""


class Questions(NamedTuple):
    """Token ids of prompts and of the answers after each, and where each answer was asked for, by prompt and answer.

    A prompt is there twice where the answers that follow it leave it other tokens.
    """

    prompts: list[list[int]]
    answers: list[list[list[int]]]
    places: list[list[tuple[int, int]]]


def questions(reader: Prompts, prompts: Prompt, answers: Any, chat: bool, boundary: Boundary) -> Questions:
    """Read prompts and answers: to one prompt an answer or several, to several prompts a list with those of each.

    Raises `UsageError` for what is none, and for an answer as text after a prompt as token ids.
    """
    if boundary not in ("exact", "common"):
        raise UsageError(f"boundary is 'exact' or 'common', not {boundary!r}")
    asked, several = listed_prompts(prompts)
    if not several:
        answers = [answers]
    elif isinstance(answers, (str, bytes)) or not hasattr(answers, "__len__") or len(answers) != len(asked):
        raise UsageError(f"there are {len(asked)} prompts: give a list with the answers of each")
    found = Questions([], [], [])
    for place, (prompt, given) in enumerate(zip(asked, answers, strict=True)):
        groups: dict[tuple[int, ...], int] = {}
        for number, answer in enumerate(_answers(given)):
            ids, after = _pair(reader, prompt, answer, chat, boundary)
            group = groups.setdefault(tuple(ids), len(found.prompts))
            if group == len(found.prompts):
                found.prompts.append(ids)
                found.answers.append([])
                found.places.append([])
            found.answers[group].append(after)
            found.places[group].append((place, number))
    return found


def listed_prompts(prompts: Any) -> tuple[list[Any], bool]:
    """Prompts one by one, texts or rows of ids, and whether a list of them was given."""
    if isinstance(prompts, str):
        return [prompts], False
    if isinstance(prompts, (list, tuple)) and any(isinstance(part, str) for part in prompts):
        return list(prompts), True
    plain = prompts.rows() if isinstance(prompts, TokenBatch) else _listed(prompts)
    if not isinstance(plain, (list, tuple)) or not plain:
        raise UsageError("prompts are a text, texts, token ids or rows of token ids, at least one")
    flat = all(isinstance(token, int) for token in plain)
    return ([plain], False) if flat else ([_listed(row) for row in plain], True)


def _answers(given: Any) -> list[Any]:
    """The answers to one prompt: texts or rows of ids."""
    if isinstance(given, str):
        return [given]
    plain = given.rows() if isinstance(given, TokenBatch) else _listed(given)
    if not isinstance(plain, (list, tuple)) or not plain:
        raise UsageError("answers are a text, token ids, or a list of them, at least one a prompt")
    return [plain] if all(isinstance(token, int) for token in plain) else [_listed(each) for each in plain]


def _pair(reader: Prompts, prompt: Any, answer: Any, chat: bool, boundary: Boundary) -> tuple[list[int], list[int]]:
    if isinstance(answer, str):
        if not isinstance(prompt, str):
            raise UsageError(
                "an answer as text needs its prompt as text too: where one ends is not seen from token ids"
            )
        return reader.answer(prompt, answer, chat, boundary)
    if isinstance(answer, (list, tuple)) and not answer:
        raise UsageError("an answer needs at least one token")
    return reader.tokens(prompt, chat).rows()[0], reader.tokens(answer).rows()[0]


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
