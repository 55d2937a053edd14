"""The true answer as each layer has it, and each method's distance from the model on unrelated text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.internals.sites import Site
from workbench.texts import fill, synthetic_haystack

from .method.methods import MODEL, WITHOUT, Method
from .method.readings import Reading
from .method.scores import distances, score
from .reading import read
from .sources import Sources
from .task.questions import Asked, Writer

if TYPE_CHECKING:
    from workbench.internals.lens import Through
    from workbench.internals.session import Session
    from workbench.progress import Reporter

TOKENS = 40
"""Tokens of an unrelated text that are scored, and of the one before it."""
BEGUN = 4
"""Tokens of the text that come before the first that is scored."""


def early_exit(session: Session, asked: Sequence[Asked], progress: Reporter) -> dict[str, np.ndarray]:
    """The first token of the best answer at every layer, `[question, layer]`, through the final norm.

    logprob: its log-probability. lead: that minus the best one of a false answer. rank: how many tokens are likelier.
    NaN where a false answer begins with the same token.
    """
    layers = session.shape.layers
    sites = [Site("resid_post", layer) for layer in range(layers)]
    found = {name: np.full((len(asked), layers), np.nan) for name in ("logprob", "lead", "rank")}
    for place in progress.steps(range(len(asked)), "early exit"):
        one = asked[place]
        best = one.answers[0][0]
        false = sorted({answer[0] for answer in one.answers[one.question.true :]})
        if best in false:
            continue

        def seen(logits: Tensor, best: int = best, false: Sequence[int] = tuple(false)) -> Tensor:
            log = logits.float().log_softmax(-1)
            own = log[:, best]
            rank = (log > own[:, None]).sum(-1).to(own)
            return torch.stack([own, own - log[:, list(false)].max(-1).values, rank], dim=-1)

        read_out = session.lens(one.prompt, sites, positions=[-1], reduce=seen)
        for layer, site in enumerate(sites):
            for name, value in zip(found, read_out[str(site)][0, 0].tolist(), strict=True):
                found[name][place, layer] = value
    return found


def divergence_map(
    session: Session, asked: Sequence[Asked], candidates: tuple[int, ...], through: Through
) -> list[tuple[list[int], np.ndarray, np.ndarray]]:
    """For each question, the tokens of its best answer, and both divergences `[candidate, token]` before each."""
    found = []
    for one in asked:
        reading = read(session, [one.prompt], [one.answers[:1]], candidates, through=through)[0]
        far = distances(reading, candidates)
        found.append((one.answers[0], far["true"].cpu().numpy(), far["as_released"].cpu().numpy()))
    return found


def damage(
    sources: Sources,
    methods: Sequence[Method],
    writer: Writer,
    texts: int,
    through: Through,
    rng: np.random.Generator,
    progress: Reporter,
) -> np.ndarray:
    """KL of the model from each method at the tokens of unrelated texts, nats, `[method, text]`.

    The text before counts as the context, for methods that have a stream without it. The plausibility mask is left out:
    what it forbids would be infinitely far.
    """
    haystack = synthetic_haystack()
    found = np.full((len(methods), texts), np.nan)
    for text in progress.steps(range(texts), "damage"):
        before, after = (" ".join(fill(haystack, TOKENS, lambda part: len(writer.ids(part)), rng)) for _ in range(2))
        tail = writer.continued(f" {after}")[:TOKENS]
        told, bare, answer = writer.ids(before) + tail[:BEGUN], writer.ids("") + tail[:BEGUN], tail[BEGUN:]
        readings: dict[str, Reading] = {}
        for stream in dict.fromkeys(name for method in methods for name in method.streams):
            source = sources.streams[MODEL if stream == WITHOUT else stream]
            prompt = bare if stream == WITHOUT else told
            prompt = [*writer.ids(source.before), *prompt] if source.before else prompt
            low = {index for method in methods for index in method.states.get(stream, ())}
            with source.enter() as session:
                readings[stream] = read(session, [prompt], [[answer]], sorted(low), source.edits, through)[0]
        log = readings[MODEL].logits.double().log_softmax(-1)
        for number, method in enumerate(methods):
            made = score(replace(method, plausibility=0.0, normalise=True), readings, whole=True).whole
            assert made is not None
            # scores that sum to 1 in float32 do so to 1e-5, which is more than some methods are away
            exact = made.double().log_softmax(-1)
            found[number, text] = float((log.exp() * (log - exact)).sum(-1).mean())
    return found.clip(min=0)
