"""The parts of a run that touch the model, each as a dataset that can be kept and read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.records.results import variable
from workbench.texts import Haystack, fill
from workbench.texts.placement import Trial

from .ablation import ranked, replace
from .attention_loss import Head
from .config import HeadRolesConfig, Rule
from .scores import RULES, repeat_targets
from .sets import HeadSet
from .trial_scores import Measured, answers, generated, teacher_forced

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.probe.contract import RunContext
    from workbench.progress import Reporter

MODES = ["teacher-forced", "generated"]
MODE_DIM = (
    "mode",
    MODES,
    {"description": "whose answer the heads are followed through: the true one or the model's own"},
)
RULE_DIM = ("rule", list(RULES), {"description": "what the retrieval score counts"})
REPEAT_DIM = "repeat"
ROUGE = 0.5
"""ROUGE-1 recall above which a generated answer counts, as in the published code."""


def scores(session: Session, trials: Sequence[Trial], rule: Rule, progress: Reporter, stage: str) -> xr.Dataset:
    """Retrieval scores of all heads in all trials, by mode and rule, with the answers and what chance gives."""
    import xarray as xr

    pairs: list[tuple[Measured, Measured | None]] = []
    for trial in progress.steps(trials, stage):
        forced = teacher_forced(session, trial, rule)
        pairs.append((forced, generated(session, trial, forced, rule)))
    empty = np.full_like(pairs[0][0].mass, np.nan)

    def by_mode(value: Any, missing: Any) -> np.ndarray:
        return np.stack(
            [[missing if each is None else value(each) for each in column] for column in zip(*pairs, strict=True)]
        )

    heads = ("example", "layer", "head")
    copy = np.stack([by_mode(lambda each, r=each_rule: each.scores[r], empty) for each_rule in RULES], axis=1)
    counted = by_mode(lambda each: each.said > ROUGE, False)
    counted[0] = True
    forced_only = [forced for forced, _ in pairs]
    return xr.Dataset(
        {
            "copy": variable(
                ("mode", "rule", *heads), copy.astype(np.float32), "share", "retrieval score of one trial"
            ),
            "chance": variable(
                ("mode", *heads),
                by_mode(lambda each: each.chance, empty).astype(np.float32),
                "share",
                "retrieval score of one trial with the answer's tokens in a wrong order",
            ),
            "mass": variable(
                ("mode", *heads),
                by_mode(lambda each: each.mass, empty).astype(np.float32),
                "share",
                "mean attention on the needle's token that comes next",
            ),
            "counted": variable(
                ("mode", "example"), counted, "", "whether the trial counts: a generated one only if answered"
            ),
            "said": variable(
                ("mode", "example"),
                by_mode(lambda each: each.said, 0.0),
                "share",
                "ROUGE-1 recall of the answer in what was said",
            ),
            "correct": variable(
                "example",
                np.array([forced.correct for forced in forced_only]),
                "",
                "1 if every token of the answer is the first choice after the ones before it",
            ),
            "correct_share": variable(
                "example",
                np.array([forced.share for forced in forced_only]),
                "share",
                "share of the answer's tokens that are the first choice after the ones before them",
            ),
        },
        coords={
            "mode": MODE_DIM,
            "rule": RULE_DIM,
            **_examples(trials),
            **_heads(session),
        },
    )


def order(selection: xr.Dataset, config: HeadRolesConfig) -> list[Head]:
    """All heads by their retrieval score on the selection needles, in the mode and by the rule of the settings."""
    mode = selection.sel(mode=config.mode)
    copy = mode["copy"].sel(rule=config.rule).where(mode["counted"]).mean("example").fillna(0.0)
    mass = selection["mass"].sel(mode="teacher-forced").mean("example")
    return ranked(copy.values, mass.values)


def repeats(session: Session, config: HeadRolesConfig, context: RunContext) -> xr.Dataset:
    """Induction, previous-token and duplicate-token scores on near and on far repeats of random tokens."""
    import torch
    import xarray as xr

    rng = context.rng("repeats")
    ordinary = _ordinary(session)
    found: dict[str, list[np.ndarray]] = {}
    halves = [config.near] * config.repeats + [config.far] * config.repeats
    for half in context.progress.steps(halves, "repeated tokens"):
        block = rng.choice(ordinary, half, replace=len(ordinary) < half).tolist()
        targets = repeat_targets(half)
        points = torch.zeros(len(targets), 2 * half, dtype=torch.int64)
        points[:, half:] = torch.from_numpy(np.stack(list(targets.values())))
        seen = session.attention_statistics(block * 2, stats=(), weights_at=points)
        scores = np.stack([each.present()["weights_at"][0, :, :, half:].mean(-1).numpy() for each in seen.values()])
        for place, name in enumerate(targets):
            found.setdefault(name, []).append(scores[:, :, place])
    meaning = {
        "induction": "mean attention on the token after the earlier occurrence of the current one",
        "previous_token": "mean attention on the token before",
        "duplicate_token": "mean attention on the earlier occurrence of the current token",
    }
    shape = (2, config.repeats, session.shape.layers, session.shape.heads)
    return xr.Dataset(
        {
            name: variable((REPEAT_DIM, "layer", "head"), np.stack(each).reshape(shape).mean(1), "share", meaning[name])
            for name, each in found.items()
        },
        coords={
            REPEAT_DIM: (
                REPEAT_DIM,
                ["near", "far"],
                {"description": "distance between random tokens and their repeat"},
            ),
            "period": (
                REPEAT_DIM,
                [config.near, config.far],
                {"description": "random tokens before they are repeated"},
            ),
            **_heads(session),
        },
    )


def ablation(
    session: Session,
    trials: Sequence[Trial],
    sets: Sequence[HeadSet],
    haystack: Haystack,
    config: HeadRolesConfig,
    context: RunContext,
) -> xr.Dataset:
    """Whether each needle is recalled, with nothing ablated and with each set ablated at every position."""
    import xarray as xr

    states = _states(session, haystack, config, context)
    rng = context.rng("replacements")
    recall = np.zeros((1 + len(sets), len(trials)))
    share = np.zeros_like(recall)
    seeds = rng.integers(2**32, size=len(trials))
    part = context.progress.parts(recall.size, "ablation")
    for column, trial in enumerate(trials):
        # one draw a needle, so that all sets of one needle are replaced from the same places
        cuts = [
            replace(each.heads, states, each.how, len(trial.ids), np.random.default_rng(seeds[column])) for each in sets
        ]
        found = answers(session, trial, [[], *cuts], part(column * (1 + len(sets))))
        recall[:, column], share[:, column] = zip(*found, strict=True)
    unseen = [answers(session, trial.without_needle())[0][0] for trial in context.progress.steps(trials, "no needle")]
    labels = ["none", *(f"{each.kind} {each.count} {each.how} {each.sample}" for each in sets)]

    def along(values: Sequence[Any], description: str) -> tuple[str, list[Any], dict[str, str]]:
        return "condition", list(values), {"description": description}

    return xr.Dataset(
        {
            "recall": variable(
                ("condition", "example"), recall, "", "1 if every token of the answer is the first choice"
            ),
            "recall_without_needle": variable(
                "example",
                np.array(unseen),
                "",
                "1 if every token of the answer is the first choice although the needle was taken out",
            ),
            "recall_share": variable(
                ("condition", "example"), share, "share", "share of the answer's tokens that are the first choice"
            ),
        },
        coords={
            "condition": along(labels, "which heads were ablated and how"),
            "set": along(["none", *(each.kind for each in sets)], "nothing, the top heads, or random heads"),
            "count": along([0, *(each.count for each in sets)], "ablated heads"),
            "sample": along([0, *(each.sample for each in sets)], "random draw"),
            "how": along(["none", *(each.how for each in sets)], "what replaced the heads' output"),
            "heads": along(["", *(_names(each.heads) for each in sets)], "the ablated heads, as layer.head"),
            "borrowed": along([0, *(each.borrowed for each in sets)], "heads of a random set from another layer"),
            **_examples(trials),
        },
    )


def _states(session: Session, haystack: Haystack, config: HeadRolesConfig, context: RunContext) -> np.ndarray:
    """Outputs of all heads on texts without a needle, `[layer, sample, head, d_head]`; the first token is left out."""
    rng = context.rng("references")
    layers = range(session.shape.layers)
    kept: list[list[np.ndarray]] = [[] for _ in layers]

    def length_of(text: str) -> int:
        return len(session.tokenizer(text, add_special_tokens=False)["input_ids"])

    for _ in context.progress.steps(range(config.references), "texts without a needle"):
        text = " ".join(fill(haystack, config.ablation_length, length_of, rng))
        seen = session.capture(text, [f"z.{layer}" for layer in layers])
        for layer in layers:
            kept[layer].append(seen[f"z.{layer}"][0, 1:].float().numpy())
    return np.stack([np.concatenate(each) for each in kept])


def _ordinary(session: Session) -> np.ndarray:
    """Ids of tokens that are neither special nor added, sorted."""
    tokenizer = session.tokenizer
    barred = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return np.array(sorted(set(tokenizer.get_vocab().values()) - barred))


def _names(heads: Sequence[Head]) -> str:
    return " ".join(f"{layer}.{head}" for layer, head in heads)


def _heads(session: Session) -> dict[str, Any]:
    return {"layer": np.arange(session.shape.layers), "head": np.arange(session.shape.heads)}


def _examples(trials: Sequence[Trial]) -> dict[str, Any]:
    def along(values: Sequence[Any], description: str) -> tuple[str, list[Any], dict[str, str]]:
        return "example", list(values), {"description": description}

    return {
        "example": np.arange(len(trials)),
        "key": along([trial.key for trial in trials], "what the needle is about"),
        "depth": along([trial.depth for trial in trials], "share of the haystack before the needle"),
        "tokens": along([len(trial.ids) for trial in trials], "tokens of prompt and answer"),
        "away": along(
            [trial.answer[0] - trial.value[0] for trial in trials],
            "tokens from the answer in the needle to where it is due",
        ),
        "asked_length": along([trial.asked_length for trial in trials], "tokens that the prompt should have at most"),
        "asked_depth": along([trial.asked_depth for trial in trials], "depth that the needle should have"),
    }
