"""The course of a run: parameters are chosen on validation questions, and everything is scored on others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from workbench.internals.unembedding import Unembedding
from workbench.probe.contract import Outcome, RunContext
from workbench.records.results import variable

from . import answering, heads, lens_views
from .config import NONE, LayerContrastConfig
from .findings import Parts, outcome
from .method import methods as made
from .method.layers import candidates, checked
from .method.methods import MODEL, Method
from .method.sled import Evolution
from .metrics.choices import choice
from .scoring import SCORINGS, AnswerScores, score_answers
from .sources import RANDOM, Head, Sources, sources
from .task import conflicts as conflict_data
from .task.conflicts import Conflict, Conflicts, prior_answer
from .task.questions import Asked, Questions, Writer, read_completions, read_questions, sample

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session

MAPPED = 8
"""Questions whose divergences are kept layer by layer and token by token."""
PREFIX = 1024
"""Tokens of a FACTOR prefix, cut from the left."""


def run(session: Session, config: LayerContrastConfig, context: RunContext) -> Outcome:
    """Answer the question; the model is left as it was."""
    questions, conflicts = read_questions(config.data), conflict_data.read_conflicts(config.conflicts)
    writer = Writer(session)
    validation, left_out = _sampled(writer, questions, "validation", config.n_validation, context)
    test, more_left_out = _sampled(writer, questions, "test", config.n, context)
    with sources(session, config.amateur) as plain:
        named, random = _heads(plain, conflicts, config, context)
        own = plain.with_heads(named, random)
        tried = settings(session, own, config)
        validated = context.stage(
            "validation", lambda: _scored(score_answers(
                own, validation, tried, writer, config.lens, context.progress, "validation questions"
            ), validation, tried)
        )  # fmt: skip
        chosen = choose(tried, validated)
        scored = context.stage(
            "test", lambda: _scored(score_answers(
                own, test, chosen, writer, config.lens, context.progress, "test questions"
            ), test, chosen)
        )  # fmt: skip
        layers = context.stage("layers", lambda: _layers(own, test, config, context))
        answered = context.stage("conflicts", lambda: _conflicts(own, conflicts, writer, config, context))
        best = made.cad(float(answered.attrs["alpha"]))
        compared = [*chosen, best, made.adacad(), made.ck_plug(None)]
        hurt = context.stage("damage", lambda: _damage(own, compared, writer, config, context))
        completed = None
        if config.factor != NONE:
            table = read_completions(config.factor)
            items = [one for question in table.questions if (one := writer.asked(question, most=PREFIX)) is not None]
            released = [replace(method, plausibility=0.1) if method.lower else method for method in chosen]
            completed = context.stage(
                "factor", lambda: _scored(score_answers(
                    own, items, released, writer, config.lens, context.progress, "completions"
                ), items, released)
            )  # fmt: skip
        parts = Parts(
            questions, conflicts, validated, scored, layers, answered, hurt, completed, chosen, tuple(named),
            tuple(random), own.amateur, left_out + more_left_out,
        )  # fmt: skip
    return outcome(parts, config, context)


def _sampled(writer: Writer, questions: Questions, split: str, n: int, context: RunContext) -> tuple[list[Asked], int]:
    least = 2
    found = questions.of(split)  # type: ignore[arg-type]
    return sample(writer, found, n, context.rng(f"{split} questions"), least, f"the {split} split")


def settings(session: Session, own: Sources, config: LayerContrastConfig) -> list[Method]:
    """Every method with each of the parameters that are tried, the published one first."""
    layers, alpha = session.shape.layers, config.plausibility
    tied = _tied(session)
    high, low = candidates("high", layers, tied), candidates("low", layers, tied)
    single = checked(config.layers, layers) if config.layers else _even(candidates("all", layers, tied), 5)
    tried = [made.plain()]
    if high:
        tried.append(made.dola(high, config.divergence))
    if low:
        tried.append(made.dola(low, config.divergence, "dola_low"))
    tried += [made.dola((index,), config.divergence, "dola_static") for index in reversed(single)]
    tried += [made.sled(tuple(single), Evolution(rate)) for rate in config.rates]
    tried.append(made.cd() if own.other_model else made.icd())
    states = tuple(single[-2:])
    tried += [made.lol(omega, gamma, states) for omega in config.omegas for gamma in config.gammas]
    tried += [made.decore()] if made.MASKED in own.streams else []
    tried += [made.decore("decore_random", RANDOM)] if RANDOM in own.streams else []
    return [replace(method, plausibility=alpha or method.plausibility) for method in tried]


def _tied(session: Session) -> bool:
    way = Unembedding.of(session.hooked.engine)
    embedded = session.model.get_input_embeddings()
    return getattr(embedded, "weight", None) is getattr(way.head, "weight", None)


def _even(several: Sequence[int], count: int) -> tuple[int, ...]:
    places = np.unique(np.linspace(0, len(several) - 1, min(count, len(several))).round().astype(int))
    return tuple(several[int(place)] for place in places)


def choose(tried: Sequence[Method], validated: xr.Dataset) -> list[Method]:
    """Of each method, the parameters with the highest sum of the three numbers on validation; of equals the first."""
    total = validated["mc"].sel(scoring="softmax").sum("metric").mean("example").values
    best: dict[str, int] = {}
    for place, method in enumerate(tried):
        if method.name not in best or total[place] > total[best[method.name]] + 1e-12:
            best[method.name] = place
    return [tried[place] for place in best.values()]


def _heads(
    own: Sources, conflicts: Conflicts, config: LayerContrastConfig, context: RunContext
) -> tuple[list[Head], list[Head]]:
    if config.heads == NONE:
        return [], []
    with own.streams[MODEL].enter() as session:
        if config.heads == "auto":
            if not getattr(session.tokenizer, "is_fast", False) or "pattern" not in session.hooked.kinds:
                return [], []
            kept = _pick(conflicts.of("train"), config.n_conflicts_validation, Writer(session), context.rng("heads"))
            if not kept:
                return [], []
            scores = heads.looking_at_answers(session, kept, context.progress)
        else:
            scores = heads.from_table(config.heads, session)
        named = heads.top(scores, config.n_heads)
        random = heads.random_beside(named, scores.shape[0], scores.shape[1], context.rng("random heads"))
    return named, random


def _scored(found: AnswerScores, asked: Sequence[Asked], methods: Sequence[Method]) -> xr.Dataset:
    """Scores, what they come to, and what was contrasted with, as a dataset."""
    import xarray as xr

    shape = (len(methods), len(SCORINGS), len(asked))
    metrics = np.full((*shape, 4), np.nan)
    for place, one in enumerate(asked):
        true, count = one.question.true, len(one.answers)
        for number in range(len(methods)):
            for way in range(len(SCORINGS)):
                sums = found.scores[number, way, place, :count]
                metrics[number, way, place] = choice(sums[:true], sums[true:])
    dims = ("condition", "scoring", "example")
    return xr.Dataset(
        {
            "score": variable((*dims, "answer"), found.scores, "nats", "sum of the scores of an answer's tokens"),
            "mc": variable((*dims, "metric"), metrics[..., :3], "1", "MC1, MC2 and MC3 of a question"),
            "mc2_halved": variable(dims, metrics[..., 3], "1", "MC2 as released: scores halved until none underflows"),
            "tokens": variable(("example", "answer"), found.tokens, "tokens", "length of an answer; 0 for none"),
            "true": variable("example", np.array([one.question.true for one in asked]), "answers", "true answers"),
        },
        coords={
            "condition": ("condition", [method.name for method in methods], {"description": "the method"}),
            "setting": ("condition", [method.setting for method in methods], {"description": "its parameters"}),
            "scoring": ("scoring", list(SCORINGS), {"description": "whether scores are normalised"}),
            "metric": ("metric", ["mc1", "mc2", "mc3"], {"description": "number of TruthfulQA's multiple choice"}),
            "example": np.arange(len(asked)),
            "question": ("example", [one.question.name for one in asked], {"description": "the question"}),
            "answer": ("answer", np.arange(found.scores.shape[-1]), {"description": "answers, the true ones first"}),
        },
        attrs={
            "chosen": json.dumps([_counts(each) for each in found.chosen]),
            "alpha": json.dumps([_histogram(each) for each in found.alpha]),
        },
    )  # fmt: skip


def _counts(chosen: np.ndarray) -> list[list[int]]:
    """Each hidden state that was chosen, and at how many tokens."""
    return [each.tolist() for each in np.unique(chosen[chosen >= 0], return_counts=True)]


def _histogram(values: np.ndarray) -> list[list[float]]:
    """Counts and edges of 20 bins."""
    return [each.tolist() for each in np.histogram(values, bins=20)] if len(values) else [[], []]


def _layers(own: Sources, test: Sequence[Asked], config: LayerContrastConfig, context: RunContext) -> xr.Dataset:
    """Early exit of the true answers, and divergences layer by layer and token by token."""
    import xarray as xr

    with own.streams[MODEL].enter() as session:
        layers = session.shape.layers
        exits = lens_views.early_exit(session, test, context.progress)
        several = candidates("all", layers, _tied(session)) or (layers - 1,)
        far = lens_views.divergence_map(session, test[:MAPPED], several, config.lens)
        words = [session.text_tokens(tokens) for tokens, _, _ in far]
    width = max(len(tokens) for tokens, _, _ in far)
    maps = np.full((2, len(far), len(several), width), np.nan)
    for place, (tokens, *both) in enumerate(far):
        for way, one in enumerate(both):
            maps[way, place, :, : len(tokens)] = one
    padded = np.array([[*each, *[""] * (width - len(each))] for each in words], dtype=object)
    on = ("example", "layer")
    seen = ("mapped", "candidate", "position")
    return xr.Dataset(
        {
            "logprob": variable(on, exits["logprob"], "nats", "log-probability of the best answer's first token"),
            "lead": variable(on, exits["lead"], "nats", "that, minus the best one of a false answer"),
            "rank": variable(on, exits["rank"], "tokens", "tokens that are likelier than the best answer's first"),
            "js": variable(seen, maps[0], "nats", "Jensen–Shannon divergence of a lower layer from the last one"),
            "released": variable(seen, maps[1], "nats", "the same as DoLa's code computes it, over the vocabulary"),
            "word": variable(("mapped", "position"), padded.astype(str), "", "token of the best answer"),
        },
        coords={
            "example": np.arange(len(test)),
            "layer": np.arange(layers),
            "mapped": ("mapped", np.arange(len(far)), {"description": "questions, the first of the test split"}),
            "candidate": ("candidate", list(several), {"description": "hidden state, 0 for the embeddings"}),
            "position": np.arange(width),
        },
    )


def _conflicts(
    own: Sources, conflicts: Conflicts, writer: Writer, config: LayerContrastConfig, context: RunContext
) -> xr.Dataset:
    """Answers under each method to questions whose context disagrees with the model, and whose context agrees."""
    from .conflict_data import dataset

    picked = {
        split: _pick(conflicts.of(split), n, writer, context.rng(f"{split} conflicts"))  # type: ignore[arg-type]
        for split, n in (("validation", config.n_conflicts_validation), ("test", config.n_conflicts))
    }
    priors = {
        split: [prior_answer(writer.text(ids)) for ids in answering.without_context(
            own, items, writer, config, context.progress
        )]
        for split, items in picked.items()
    }  # fmt: skip

    def said(items: Sequence[Conflict], method: Method, stage: str) -> list[list[int]]:
        return answering.generate(own, items, method, writer, config, context.progress, stage)

    return dataset(picked, priors, said, own, writer, config)


def _pick(items: Sequence[Conflict], n: int, writer: Writer, rng: np.random.Generator) -> list[Conflict]:
    kept: list[Conflict] = []
    for place in rng.permutation(len(items)):
        item = items[int(place)]
        if len(kept) < n and writer.writes(item.told) and writer.writes(item.bare):
            kept.append(item)
    return kept


def _damage(
    own: Sources, methods: Sequence[Method], writer: Writer, config: LayerContrastConfig, context: RunContext
) -> xr.Dataset:
    import xarray as xr

    values = lens_views.damage(
        own, methods, writer, config.damage, config.lens, context.rng("unrelated texts"), context.progress
    )
    return xr.Dataset(
        {"kl": variable(("condition", "example"), values, "nats", "mean KL of the model from the method at a token")},
        coords={
            "condition": ("condition", [method.name for method in methods], {"description": "the method"}),
            "example": np.arange(values.shape[1]),
        },
    )
