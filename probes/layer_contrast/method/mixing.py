"""A method in generation: the function that mixes the logits of its streams, with a repetition penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench.internals.streams import Mix

from .methods import MODEL, Method
from .readings import Reading
from .scores import score


@dataclass(frozen=True)
class Repetition:
    """A penalty on tokens of the prompt and of the answer so far: positive numbers are divided by it.

    Others are multiplied. on: the mixed scores, as in released code, whose log-ratios have no fixed sign; or the
    model's own logits, before they are mixed. Keskar et al. 2019 (arXiv 1909.05858).
    """

    penalty: float = 1.0
    on: Literal["mixed", "model"] = "mixed"

    def __call__(self, numbers: Tensor, seen: Sequence[Tensor]) -> Tensor:
        """`numbers [row, vocabulary]` with the tokens `seen [row][token]` made less likely."""
        changed = numbers.clone()
        for row, ids in enumerate(seen):
            held = numbers[row, ids]
            changed[row, ids] = torch.where(held > 0, held / self.penalty, held * self.penalty)
        return changed


def mixing(
    method: Method,
    layers: Sequence[int] = (),
    prompts: Sequence[Sequence[int]] = (),
    repetition: Repetition | None = None,
) -> Mix:
    """What `streams.generate` mixes by: logits of the method's streams in their order, the model's with its `layers`.

    `layers` are the hidden states whose logits come after the model's own, as `Stream.sites` gives them. Every row has
    its own mask and its own lower layer.
    """
    method = method.in_generation()
    others = [stream for stream in method.streams if stream != MODEL]

    def mix(logits: Sequence[Tensor], before: Tensor) -> Tensor:
        first = logits[0]
        seen: list[Tensor] = []
        if repetition is not None:
            rows = zip(prompts, before, strict=True)
            seen = [torch.cat([torch.tensor(list(prompt)), new.cpu()]).unique() for prompt, new in rows]
        if repetition is not None and repetition.on == "model":
            first = repetition(first, seen)
        lower = dict(zip(layers, logits[1 : 1 + len(layers)], strict=True))
        readings = {MODEL: Reading(first, lower)}
        readings |= {name: Reading(each) for name, each in zip(others, logits[1 + len(layers) :], strict=True)}
        mixed = score(method, readings, whole=True).whole
        assert mixed is not None
        return repetition(mixed, seen) if repetition is not None and repetition.on == "mixed" else mixed

    return mix
