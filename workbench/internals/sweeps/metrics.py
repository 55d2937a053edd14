"""Metrics: what a sweep measures of every run, one number from the logits where the answer is said.

`logit_difference`, `log_probability` and `divergence`, or a function of the logits after the prompt, `[cell,
vocabulary]`, that gives `[cell]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ..prompts import Prompts

MetricLike = Any
"""A metric of this module, or a function of logits `[cell, vocabulary]` that gives `[cell]`."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A metric of one prompt: tokens that go in after it, and what is made of the logits.

    The logits `[cell, 1 + after, vocabulary]` are those after the prompt and after each of these tokens; `value` is
    given them and those of the clean prompt's run, `[1, …]`, and gives `[cell]`.
    """

    after: tuple[int, ...]
    value: Callable[[Tensor, Tensor], Tensor]


class Metric(ABC):
    """What is measured; made by `logit_difference`, `log_probability` or `divergence`."""

    units: str
    meaning: str

    @abstractmethod
    def read(self, reader: Prompts, prompts: Sequence[Any], chat: bool) -> list[Reading]:
        """The metric of each prompt; raises `UsageError` for answers that are not right for it."""


def logit_difference(right: Any, wrong: Any) -> Metric:
    """The logit of one token after the prompt less that of another.

    Tokens are texts or ids, one for all prompts or a list with one for each. Raises `UsageError` for a text of several
    tokens.
    """
    return LogitDifference(right, wrong)


def log_probability(answer: Any) -> Metric:
    """The log-probability of an answer after the prompt, in nats: the sum over its tokens.

    A text, or token ids, for all prompts; or a list of texts, or of lists of ids, with one for each.
    """
    return LogProbability(answer)


def divergence() -> Metric:
    """The Kullback–Leibler divergence, in nats, of what a run says after the prompt from what the clean run says."""
    return Divergence()


def metric_of(given: MetricLike) -> Metric:
    """A metric, or a function as one; raises `UsageError` for what is neither."""
    if isinstance(given, Metric):
        return given
    if callable(given) and not isinstance(given, type):
        return Function(given)
    raise UsageError(
        "a metric is wb.metrics.logit_difference(right, wrong), log_probability(answer), divergence(), or a function "
        f"of the logits [cell, vocabulary] after the prompt; not {type(given).__name__} {given!r}"
    )


@dataclass(frozen=True)
class LogitDifference(Metric):
    """See `logit_difference`."""

    right: Any
    wrong: Any
    units = "1"
    meaning = "logit of the right token less that of the wrong one, after the prompt"

    def read(self, reader: Prompts, prompts: Sequence[Any], chat: bool) -> list[Reading]:
        found = []
        pairs = zip(_of_each(self.right, len(prompts)), _of_each(self.wrong, len(prompts)), strict=True)
        for prompt, (right, wrong) in zip(prompts, pairs, strict=True):
            one, other = (_token(reader, prompt, answer, chat) for answer in (right, wrong))
            if one == other:
                raise UsageError(f"{right!r} and {wrong!r} are the same token, {one}: their logits do not differ")
            found.append(Reading((), lambda logits, _, one=one, other=other: logits[:, 0, one] - logits[:, 0, other]))  # type: ignore[misc]
        return found


@dataclass(frozen=True)
class LogProbability(Metric):
    """See `log_probability`."""

    answer: Any
    units = "nats"
    meaning = "log-probability of the answer after the prompt"

    def read(self, reader: Prompts, prompts: Sequence[Any], chat: bool) -> list[Reading]:
        given = self.answer.tolist() if hasattr(self.answer, "tolist") else self.answer
        one_row = isinstance(given, (list, tuple)) and all(isinstance(token, int) for token in given)
        answers = [given] * len(prompts) if one_row else _of_each(given, len(prompts))
        return [
            self._reading(_ids(reader, prompt, answer, chat)) for prompt, answer in zip(prompts, answers, strict=True)
        ]

    @staticmethod
    def _reading(ids: list[int]) -> Reading:
        def value(logits: Tensor, _: Tensor) -> Tensor:
            import torch

            said = logits.log_softmax(-1, torch.promote_types(logits.dtype, torch.float32))
            return said[:, torch.arange(len(ids)), torch.tensor(ids)].sum(-1)

        return Reading(tuple(ids[:-1]), value)


@dataclass(frozen=True)
class Divergence(Metric):
    """See `divergence`."""

    units = "nats"
    meaning = "divergence of what the run says after the prompt from what the clean run says"

    def read(self, reader: Prompts, prompts: Sequence[Any], chat: bool) -> list[Reading]:
        def value(logits: Tensor, clean: Tensor) -> Tensor:
            import torch

            at_least = torch.promote_types(logits.dtype, torch.float32)
            run, true = (each[:, 0].log_softmax(-1, at_least) for each in (logits, clean))
            return (true.exp() * (true - run)).sum(-1)

        return [Reading((), value)] * len(prompts)


@dataclass(frozen=True)
class Function(Metric):
    """A function of the user's."""

    function: Callable[[Tensor], Tensor]
    units = "1"
    meaning = "a function of the logits after the prompt"

    def read(self, reader: Prompts, prompts: Sequence[Any], chat: bool) -> list[Reading]:
        def value(logits: Tensor, _: Tensor) -> Tensor:
            found = self.function(logits[:, 0])
            if not hasattr(found, "shape") or tuple(found.shape) != (len(logits),):
                told = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
                raise UsageError(
                    f"the metric was given logits {tuple(logits[:, 0].shape)} (cell, vocabulary) and returned {told}; "
                    f"it returns one number a cell: {(len(logits),)}"
                )
            return found

        return [Reading((), value)] * len(prompts)


def _of_each(given: Any, count: int) -> list[Any]:
    """One answer for each prompt."""
    given = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(given, (list, tuple)):
        return [given] * count
    if len(given) != count:
        raise UsageError(f"there are {len(given)} answers for {count} prompts: give one for all or one for each")
    return list(given)


def _ids(reader: Prompts, prompt: Any, answer: Any, chat: bool) -> list[int]:
    """The token ids of an answer after its prompt."""
    if isinstance(answer, str):
        if not isinstance(prompt, str):
            raise UsageError("an answer as text needs its prompt as text too: give the answer as token ids")
        return list(reader.answer(prompt, answer, chat).answer)
    plain = [answer] if isinstance(answer, int) else answer
    if not isinstance(plain, (list, tuple)) or not plain:
        raise UsageError(f"an answer is a text or token ids, at least one; not {answer!r}")
    return reader.tokens([list(plain)]).rows()[0]


def _token(reader: Prompts, prompt: Any, answer: Any, chat: bool) -> int:
    ids = _ids(reader, prompt, answer, chat)
    if len(ids) > 1:
        raise UsageError(
            f"{answer!r} is {len(ids)} tokens, and logit_difference compares single ones: give a token id, or take "
            "log_probability"
        )
    return ids[0]


__all__ = ["logit_difference", "log_probability", "divergence", "Metric"]
