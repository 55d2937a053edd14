"""The scores of a method from what its streams say."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.kernels.contrast import MOST_TERMS, contrast_scores, divergences, layer_divergences

from . import weights as adaptive
from .methods import MODEL, Lower, Method
from .readings import Reading, Readings, backend_of
from .sled import evolved


@dataclass(frozen=True, eq=False)
class Scored:
    """at: the scores of the targets `[row]`. whole: all scores, where they were wanted. best: the likeliest `[row]`.

    norm: what was taken off to normalise `[row]`. chosen: the hidden state that each row was contrasted
    with, −1 where none was. weights: those of the terms `[term, row]`.
    """

    at: Tensor | None
    whole: Tensor | None
    best: Tensor
    norm: Tensor
    chosen: Tensor
    weights: Tensor


def score(method: Method, readings: Readings, targets: Tensor | None = None, whole: bool = False) -> Scored:
    """Scores of `targets [row]` or of every token under a method; float64 logits are computed in float64."""
    first = readings[MODEL].logits
    if method.evolution is not None:
        return _evolved(method, readings, targets, whole)
    terms, scale, chosen = terms_of(method, readings)
    plus = None
    if len(terms) > MOST_TERMS:
        rest = zip(terms[MOST_TERMS:], scale[MOST_TERMS:], strict=True)
        parts = [weight[:, None] * term.log_softmax(-1) for term, weight in rest]
        plus = torch.stack(parts).sum(0)
    found = contrast_scores(
        terms[:MOST_TERMS],
        scale[:MOST_TERMS],
        plus=plus,
        plausibility=method.plausibility,
        floor=method.floor,
        normalise=method.normalise,
        order=method.order,
        targets=targets,
        whole=whole,
        backend=backend_of(first),
    )
    return Scored(None if found.at is None else found.at[:, 0], found.scores, found.best, found.norm, chosen, scale)


def terms_of(method: Method, readings: Readings) -> tuple[list[Tensor], Tensor, Tensor]:
    """The logits of each term, their weights `[term, row]`, and the hidden states chosen `[row]`."""
    first = readings[MODEL].logits
    chosen = first.new_full((len(first),), -1, dtype=torch.int64)
    mean = method.lower is not None and method.lower.choose == "mean"
    if method.lower is not None and not mean:
        chosen = farthest(readings[MODEL], method.lower)
    terms: list[Tensor] = []
    weights: list[float] = []
    for term in method.terms:
        reading = readings[term.stream]
        if not term.lower:
            terms.append(reading.logits)
            weights.append(term.weight)
        elif mean and method.lower is not None:
            several = method.lower.candidates
            terms += [reading.lower(index) for index in several]
            weights += [term.weight / len(several)] * len(several)
        else:
            terms.append(reading.picked(chosen))
            weights.append(term.weight)
    scale = first.new_tensor(weights, dtype=torch.promote_types(first.dtype, torch.float32))[:, None].expand(
        -1, len(first)
    )
    if method.adaptive is not None:
        two = {
            "divergence": lambda: adaptive.divergence(terms[0], terms[1], method.strength or 0.0),
            "entropy": lambda: adaptive.uncertainty(terms[0]),
            "confidence": lambda: adaptive.confidence(terms[0], terms[1], method.strength),
        }[method.adaptive]()
        scale = torch.cat([two.to(scale), scale[2:]])
    return terms, scale, chosen


def farthest(reading: Reading, lower: Lower) -> Tensor:
    """The candidate that is farthest from the last layer in each row, `[row]`."""
    several = torch.tensor(lower.candidates, device=reading.logits.device)
    if len(several) == 1:
        return several.expand(len(reading.logits))
    return several[distances(reading, lower.candidates)[lower.divergence].argmax(0)]


def distances(reading: Reading, candidates: tuple[int, ...]) -> dict[str, Tensor]:
    """Both divergences of lower layers from the last one, `[candidate, row]`; computed once for a reading."""
    for several, known in reading.known.items():
        if set(candidates) <= set(several):
            places = [several.index(index) for index in candidates]
            return {name: each[places] for name, each in known.items()}
    backend = backend_of(reading.logits)
    if reading.small:
        found = divergences(reading.logits, [reading.lower(index) for index in candidates], backend=backend)
    else:
        found = layer_divergences(
            reading.logits,
            torch.stack([reading.states[index] for index in candidates]),
            lambda place, rows: reading.unembed(candidates[place], rows),
            backend=backend,
        )
    made = {"true": found.js, "as_released": found.released}
    reading.known[candidates] = made
    return made


def _evolved(method: Method, readings: Readings, targets: Tensor | None, whole: bool) -> Scored:
    assert method.evolution is not None and method.lower is not None
    reading, several = readings[MODEL], method.lower.candidates
    first = reading.logits.to(torch.promote_types(reading.logits.dtype, torch.float32))
    made = evolved(first, len(several), lambda place: reading.lower(several[place]), method.evolution)
    norm = made.logsumexp(-1) if method.normalise else made.new_zeros(len(made))
    made = made - norm[:, None]
    at = None if targets is None else made.gather(-1, targets[:, None].to(made.device))[:, 0]
    none = torch.full((len(first),), -1, device=first.device)
    return Scored(at, made if whole else None, made.argmax(-1), norm, none, first.new_ones(1, len(first)))
