"""What a run found: data by the schema of results, with checks and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.probe.contract import Outcome
from workbench.probe.headline_builders import wide_intervals
from workbench.probe.statistics import holm, paired_difference, sign_flip_test
from workbench.records.record import Check, DataUse
from workbench.records.results import variable
from workbench.texts.facts import split_of

from . import headlines
from .config import LayerContrastConfig
from .method.methods import Method
from .metrics.choices import completion
from .sources import Head
from .task.conflicts import Conflicts
from .task.questions import Questions

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from workbench.probe.contract import RunContext


@dataclass(frozen=True)
class Parts:
    """What a run was made of."""

    questions: Questions
    conflicts: Conflicts
    validated: xr.Dataset
    scored: xr.Dataset
    layers: xr.Dataset
    answered: xr.Dataset
    damage: xr.Dataset
    completed: xr.Dataset | None
    chosen: Sequence[Method]
    heads: tuple[Head, ...]
    random: tuple[Head, ...]
    amateur: str
    left_out: int


def outcome(parts: Parts, config: LayerContrastConfig, context: RunContext) -> Outcome:
    """Put a run's parts together."""
    import xarray as xr

    compared = _compared(parts.scored, context)
    groups = {
        "/choices": parts.scored, "/validation": parts.validated, "/compared": compared, "/layers": parts.layers,
        "/conflicts": parts.answered, "/damage": parts.damage,
    }  # fmt: skip
    tables = {"methods": _table(compared, parts.scored)}
    if parts.completed is not None:
        groups["/factor"] = _factor(parts.completed)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs.update(
        amateur=parts.amateur,
        heads=" ".join(f"{layer}.{head}" for layer, head in parts.heads),
        random_heads=" ".join(f"{layer}.{head}" for layer, head in parts.random),
        alpha=parts.answered.attrs["alpha"],
        block=block_of(parts.layers),
        data=parts.questions.source,
        conflicts=parts.conflicts.source,
        lens=config.lens,
    )
    return Outcome(
        data=tree,
        headlines=[
            *headlines.multiple_choice(parts.scored, context),
            *headlines.conflicts(parts.answered, context),
            headlines.overwritten(parts.layers, context),
        ],
        checks=_checks(parts),
        limits=_limits(parts, config),
        sources=_sources(parts),
        tables=tables,
    )


def block_of(layers: xr.Dataset) -> int:
    """The block in which the true answer's lead falls most, of questions in which it is overwritten; −1 for none."""
    lead = layers["lead"].values
    lead = lead[np.isfinite(lead).all(1)]
    lost = (lead[:, :-1] > 0).any(1) & (lead[:, -1] <= 0)
    if not lost.any():
        return -1
    return int(np.diff(lead[lost], axis=1).mean(0).argmin()) + 1


def _compared(scored: xr.Dataset, context: RunContext) -> xr.Dataset:
    """Each method against the model, question by question, for every number and both ways of scoring."""
    import xarray as xr

    names = [str(name) for name in scored["condition"].values if name != "base"]
    shape = (len(names), scored.sizes["scoring"], scored.sizes["metric"])
    values = {name: np.full(shape, np.nan) for name in ("difference", "low", "high", "p")}
    for row, name in enumerate(names):
        gap = scored["mc"].sel(condition=name) - scored["mc"].sel(condition="base")
        both = gap.transpose("example", "scoring", "metric").values
        values["p"][row] = sign_flip_test(both, context.rng(f"test {name}"))
        for way in range(shape[1]):
            for metric in range(shape[2]):
                one = both[:, way, metric]
                found = paired_difference(one, np.zeros_like(one), context.rng(f"gap {name} {way} {metric}"))
                for end, number in zip(("difference", "low", "high"), found, strict=True):
                    values[end][row, way, metric] = number
    values["p_holm"] = holm(values["p"]) if names else values["p"]
    meaning = {
        "difference": "the method's number minus the model's, mean over test questions",
        "low": "lower end of its 95 % interval",
        "high": "upper end of its 95 % interval",
        "p": "sign-flip test over questions",
        "p_holm": "the same after Holm's correction over all methods and numbers",
    }
    dims = ("condition", "scoring", "metric")
    return xr.Dataset(
        {name: variable(dims, each, "1", meaning[name]) for name, each in values.items()},
        coords={
            "condition": ("condition", names, {"description": "the method"}),
            "scoring": scored["scoring"],
            "metric": scored["metric"],
        },
    )


def _table(compared: xr.Dataset, scored: xr.Dataset) -> pd.DataFrame:
    table = compared.to_dataframe().reset_index()
    setting = dict(zip(scored["condition"].values, scored["setting"].values, strict=True))
    table.insert(1, "setting", [setting[name] for name in table["condition"]])
    return table


def _factor(scored: xr.Dataset) -> xr.Dataset:
    """FACTOR's accuracies by method: of normalised scores."""
    import xarray as xr

    tokens = scored["tokens"].values
    found = np.full((scored.sizes["condition"], scored.sizes["example"], 2), np.nan)
    for row in range(len(found)):
        for place in range(found.shape[1]):
            there = tokens[place] > 0
            sums = scored["score"].sel(scoring="softmax").values[row, place][there]
            found[row, place] = completion(sums, tokens[place][there])
    return xr.Dataset(
        {"accuracy": variable(("condition", "example", "rule"), found, "1", "1 if the true completion wins")},
        coords={
            "condition": scored["condition"],
            "setting": scored["setting"],
            "example": scored["example"],
            "rule": (
                "rule",
                ["official", "summed"],
                {"description": "mean log-probability of a token, or sum with ties"},
            ),
        },
    )


def _checks(parts: Parts) -> list[Check]:
    tuned, tested = (set(each["question"].values) for each in (parts.validated, parts.scored))
    wrong = sum(split_of(name) != "validation" for name in tuned) + sum(split_of(name) != "test" for name in tested)
    ceiling = _alpha(parts.damage)
    return [
        Check(
            name="parameters were chosen on other questions than those that are scored",
            passed=not tuned & tested and not wrong,
            detail=f"{len(tuned)} validation and {len(tested)} test questions, {len(tuned & tested)} in common",
        ),
        Check(
            name="no heads are both DeCoRe's and random",
            passed=not set(parts.heads) & set(parts.random),
            detail=f"{len(parts.heads)} heads and {len(parts.random)} random ones",
        ),
        Check(
            name="the model is at no distance from itself",
            passed=ceiling < 1e-6,
            detail=f"KL of plain decoding on unrelated text: {ceiling:.1e} nats",
        ),
    ]


def _alpha(damage: xr.Dataset) -> float:
    return float(damage["kl"].sel(condition="base").mean())


def _limits(parts: Parts, config: LayerContrastConfig) -> list[str]:
    said = [
        "LOL-style fusion is a reconstruction from that paper's abstract, which is all that is known of it; it is no "
        "reproduction, and its numbers say nothing about the paper's",
        "without a softmax over the scores, MC2 compares sums of log-ratios, which are no probabilities: a rise of it "
        "there need not mean that true answers became likelier",
        "CK-PLUG's adaptive α and the order of its steps are from memory of the paper and were not checked against it",
    ]
    if parts.questions.source == "facts":
        said.append(
            "the questions are about the project's own facts, with one true answer each, so MC1 and MC3 are equal; "
            "give data a table in TruthfulQA's format for questions that people answer wrongly"
        )
    else:
        said.append("the questions shown before each question are the project's own, not those of the published runs")
    if "told" in parts.amateur:
        said.append("the amateur is the model told to give false answers, which is weaker than one trained to")
    n = parts.scored.sizes["example"]
    said += wide_intervals(n, "test questions")
    conflicting = int((parts.answered["kind"].values == "conflict").sum())
    said += wide_intervals(conflicting, "questions with a conflicting context")
    if config.repetition_penalty != 1:
        on = (
            "mixed scores, whose sign has no fixed meaning" if config.penalised == "mixed" else "the model's own logits"
        )
        said.append(f"the repetition penalty of {config.repetition_penalty:g} acts on {on}")
    return said


def _sources(parts: Parts) -> list[DataUse]:
    used = parts.validated.sizes["example"] + parts.scored.sizes["example"]
    reasons = {"its words have no tokens, or it does not fit": parts.left_out} if parts.left_out else {}
    same = int(parts.answered.attrs["same"])
    return [
        DataUse(
            name=parts.questions.source, sha256=parts.questions.sha256, n_used=used, n_dropped=parts.left_out,
            reasons=reasons,
        ),
        DataUse(
            name=f"{parts.conflicts.source}, with contexts", sha256=parts.conflicts.sha256,
            n_used=int(parts.answered.attrs["asked"]) - same, n_dropped=same,
            reasons={"the model gives the context's answer without it": same} if same else {},
        ),
    ]  # fmt: skip
