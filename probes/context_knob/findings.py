"""What a run found: data by the schema of results, with checks and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.probe.contract import Outcome
from workbench.probe.headline_builders import wide_intervals
from workbench.records.record import Check, DataUse
from workbench.records.results import variable
from workbench.texts.facts import BUILT_IN

from .evaluation import separation
from .headlines import headlines, pairs
from .learning.layer_sweep import INTENT_DIM
from .search import summary
from .task.matching import memorisation_ratio, pair_accuracy

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from workbench.probe.contract import RunContext

    from .config import ContextKnobConfig
    from .parts import Parts


def outcome(parts: Parts, config: ContextKnobConfig, context: RunContext) -> Outcome:
    """Put a run's parts together."""
    import xarray as xr

    rows = separation.table(parts.configurations, lambda name: context.rng(f"interval {name}"))
    tree = xr.DataTree.from_dict(
        {
            "/sweep": parts.swept.drop_vars(["direction", "shuffled", "means", "feature"]),
            "/arms": _arms(parts, config),
            "/cosines": _cosines(parts),
            **{f"/scored/{arm}": each for arm, each in parts.scored.items()},
            **{f"/curve/{arm}": each for arm, each in parts.curves.items()},
            **{f"/configurations/{arm}": each for arm, each in parts.configurations.items()},
            **({"/compared": _compared(rows)} if len(rows) else {}),
            **{f"/search/{arm}": each for arm, each in parts.searched.items()},
        }
    )
    tree.attrs.update(
        layer=parts.found.layer,
        natural=list(parts.found.natural),
        matching=config.matching,
        intent=config.intent,
        contexts=config.contexts,
        adapter=parts.adapter or "",
        knob=parts.saved or "learnt in this run",
    )
    used = sum(len(part.items) for part in parts.drawn.values())
    dropped = sum(part.unknown for part in parts.drawn.values())
    return Outcome(
        data=tree,
        headlines=headlines(parts, config, context, rows),
        checks=_checks(parts),
        limits=_limits(parts, config),
        sources=[
            DataUse(
                name=parts.facts.name,
                sha256=parts.facts.sha256,
                n_used=used,
                n_dropped=dropped,
                reasons={"the model does not know the fact": dropped},
            )
        ],
        tables={
            "examples": _examples(parts.scored, config),
            "answers": _table(parts.scored),
            **({"configurations": rows} if len(rows) else {}),
            **_trace(parts),
        },
        tensors={
            "direction": parts.found.direction,
            "difference_of_means": parts.found.difference,
            "shuffled": parts.found.shuffled,
        },
    )


def _arms(parts: Parts, config: ContextKnobConfig) -> xr.Dataset:
    """Accuracy by arm and condition: of pairs, by intent, and the memorisation ratio."""
    import xarray as xr

    names = list(parts.scored)
    conditions = [str(name) for name in parts.scored[names[0]]["condition"].values]
    rule = config.matching
    right = np.stack([parts.scored[arm][rule].values.mean(-1) for arm in names])
    pair = np.array([[pairs(parts.scored[arm], each, config).mean() for each in conditions] for arm in names])
    ratio = np.full((len(names), len(conditions), 2), np.nan)
    for row, arm in enumerate(names):
        for column in range(len(conditions)):
            yes, no = parts.scored[arm]["strict"].values[column], parts.scored[arm]["opposite"].values[column]
            ratio[row, column] = [memorisation_ratio(yes[0], no[0]), memorisation_ratio(no[1], yes[1])]
    return xr.Dataset(
        {
            "pair_accuracy": variable(("arm", "condition"), pair, "share of pairs", "both answers right"),
            "accuracy": variable(("arm", "condition", "intent"), right, "share", "answers right, by intent"),
            "memorisation_ratio": variable(
                ("arm", "condition", "intent"), ratio, "share", "prior answers among those that are one of the two"
            ),
        },
        coords={
            "arm": ("arm", names, {"description": "the model with its adapter, and without"}),
            "condition": conditions,
            "intent": INTENT_DIM,
        },
    )


def _cosines(parts: Parts) -> xr.Dataset:
    """Cosine between the direction and its controls."""
    import xarray as xr

    vectors = {
        "knob": parts.found.direction,
        "difference": parts.found.difference,
        "shuffled": parts.found.shuffled,
        **parts.random,
    }
    stacked = np.stack([each.numpy() for each in vectors.values()])
    return xr.Dataset(
        {"cosine": variable(("one", "another"), stacked @ stacked.T, "", "cosine between two directions")},
        coords={
            "one": ("one", list(vectors), {"description": "a direction"}),
            "another": ("another", list(vectors), {"description": "a direction"}),
        },
    )


def _compared(rows: pd.DataFrame) -> xr.Dataset:
    """The rows of the further configurations as a dataset over `row`."""
    import xarray as xr

    about = {
        "pair_accuracy": "both answers right, as whole words",
        "low": "lower end of its interval over subjects",
        "high": "upper end of its interval over subjects",
        "from_prior": "answers right from the prior",
        "from_context": "answers right from the context",
        "neither": "answers that are neither",
        "published_pair_accuracy": "both answers right by the published rule",
        "random_pair_accuracy": "both right with a random direction set in the knob's place",
        "separation": "gap of the mean values under the two intents",
        "random_separation": "the same along a random direction",
    }
    texts = ("arm", "configuration", "task", "contexts", "told")
    return xr.Dataset(
        {
            name: variable("row", rows[name].to_numpy(float), "residual units" if "separation" in name else "1", each)
            for name, each in about.items()
        },
        coords={
            "row": ("row", range(len(rows)), {"description": "one configuration of one arm"}),
            **{name: ("row", rows[name].astype(str).tolist()) for name in texts},
            **{name: ("row", rows[name].to_numpy(int)) for name in ("shots", "items")},
        },
    )


def _examples(scored: dict[str, xr.Dataset], config: ContextKnobConfig) -> pd.DataFrame:
    """One row an item and arm with both steered answers, those that are not both right first."""
    import pandas as pd

    found = []
    for arm, each in scored.items():
        steered = each.sel(condition="knob")
        right = steered[config.matching].values
        rows = pd.DataFrame(
            {
                "arm": arm,
                "context": each["context"].values,
                "known": each["prior"].values,
                "set to prior": steered["said"].values[0],
                "set to context": steered["said"].values[1],
                "right": [
                    f"{'prior' if one else ''} {'context' if other else ''}".strip() or "neither"
                    for one, other in right.T
                ],
            }
        )
        found.append(rows.iloc[right.all(0).argsort(kind="stable")])
    return pd.concat(found, ignore_index=True)


def _table(scored: dict[str, xr.Dataset]) -> pd.DataFrame:
    """One row an answer, the asked and the steered ones."""
    import pandas as pd

    found = []
    for arm, each in scored.items():
        part = each[["said", "strict", "prefix", "opposite"]].sel(condition=["asked", "unsteered", "knob"])
        found.append(part.to_dataframe().reset_index().assign(arm=arm))
    return pd.concat(found, ignore_index=True)


def _trace(parts: Parts) -> dict[str, pd.DataFrame]:
    return {"search": summary.trace(parts.searched)} if parts.searched else {}


def _checks(parts: Parts) -> list[Check]:
    train, validation, test = (
        {item.subject for item in parts.drawn[split].items} for split in ("train", "validation", "test")
    )
    shared = (test & (train | validation)) | (train & validation)
    unsteered = [each["strict"].sel(condition="unsteered").values for each in parts.scored.values()]
    same = sum(int(pair_accuracy(right).sum()) for right in unsteered)
    length = float(parts.found.direction.norm())
    return [
        Check(name="splits share no subject", passed=not shared, detail=f"{len(shared)} subjects in two splits"),
        Check(
            name="without intent and without steering no pair is right",
            passed=same == 0,
            detail=f"{same} pairs; the two prompts of a pair are the same then",
        ),
        Check(name="the direction has length one", passed=abs(length - 1) < 1e-5, detail=f"length {length:.7f}"),
    ]


def _limits(parts: Parts, config: ContextKnobConfig) -> list[str]:
    test = parts.drawn["test"]
    said = [
        f"only facts count that the model answers without context, asked in its turn and as plain text: "
        f"{test.asked - test.unknown} of {test.asked} asked about in the test split; "
        f"{len({item.subject for item in test.items})} subjects were scored",
        "contexts and queries have one form a relation; other wordings may behave differently",
    ]
    if config.begun:
        said.append("prompts begin the answer with the query, where the published code lets the model answer freely")
    if parts.saved:
        said.append(
            "the direction and its values came from a training on other subjects; the sweep in this run is a smaller "
            "one, made anew, and only best_block rests on it"
        )
    if config.search:
        said += summary.limits(parts.searched)
    said += [f"left out of the further configurations: {name} ({why})" for name, why in parts.left_out.items()]
    if config.task == "base" and config.contexts == "paragraph" and parts.facts.name == BUILT_IN:
        said.append("the paragraphs are one sentence in one frame of others, and more alike than found texts")
    if config.split_by == "relation" and parts.adapter:
        said.append("the adapter saw other subjects of these relations: it was trained on a split by subject")
    said += wide_intervals(len(test.items), "held-out items")
    if len(test.items) < config.n:
        said.append(f"{config.n} held-out items were asked for and the model knows {len(test.items)}")
    return said
