"""What a run found: data by the schema of results, headlines with their controls, checks and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.probe import headline_builders as build
from workbench.probe.contract import Outcome
from workbench.probe.statistics import Interval, bootstrap_mean
from workbench.records.record import Check

from . import uniform
from .config import AttentionProfileConfig
from .data import tree
from .profile import UNITS, scored
from .texts import Texts

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.probe.contract import RunContext
    from workbench.records.record import Headline

NAMES = {
    "entropy": "mean_entropy",
    "normalised_entropy": "mean_normalised_entropy",
    "sink_mass": "sink_mass",
    "recent_mass": "recent_mass",
    "far_mass": "far_mass",
}
"""The headlines, by the statistic that each is a mean of."""


@dataclass(frozen=True)
class Parts:
    """The texts of a run, the statistics of each, those of the same tokens shuffled, and how far outputs are apart."""

    texts: Texts
    measured: Sequence[xr.Dataset]
    shuffled: Sequence[xr.Dataset]
    apart: float


def outcome(parts: Parts, config: AttentionProfileConfig, session: Session, context: RunContext) -> Outcome:
    """Put everything together."""
    span = scored(parts.texts.length, session.shape.context)
    return Outcome(
        data=tree(parts.texts, parts.measured, parts.shuffled, config, session, span),
        headlines=[headline(name, parts, config, span, context) for name in NAMES],
        checks=checks(parts, session),
        limits=limits(parts, config, session, span),
        sources=[parts.texts.use()],
        tables=tables(parts, session),
    )


def headline(
    name: str, parts: Parts, config: AttentionProfileConfig, span: tuple[int, int], context: RunContext
) -> Headline:
    """The mean of a statistic over heads and queries, with an interval over texts."""
    low, high = span
    values = means(parts.measured, name)
    found = interval(values, context.rng(f"bootstrap {name}"))
    if parts.shuffled:
        others = means(parts.shuffled, name)
        bounds = interval(others, context.rng(f"control {name}"))
        control = build.control("the same tokens in shuffled order", bounds, len(others))
    else:
        even = uniform.rows(parts.texts.length, config.sink, config.recent)[name][low:high]
        control = build.control("a head that attends evenly to all keys it sees", float(even.mean()))
    which = "" if config.layers is None else f" of layers {', '.join(map(str, config.layers))}"
    return build.headline(
        NAMES[name],
        found,
        len(values),
        unit={"entropy": "nats", "distance": "tokens"}.get(name, "1"),
        split=f"queries {low} to {high - 1} of each text, {high} tokens of context at most",
        method=(
            f"mean over all heads{which} and these queries; "
            + ("bootstrap over texts" if len(values) > 1 else "no interval: one text only")
        ),
        control=control,
    )


def means(datasets: Sequence[xr.Dataset], name: str) -> np.ndarray:
    """A statistic's mean over heads and scored queries, `[example]`."""
    return np.asarray([float(each[f"scored_{name}"].mean(dtype=np.float64)) for each in datasets])


def interval(values: np.ndarray, rng: np.random.Generator) -> Interval | float:
    """Mean with its bootstrap interval over texts; a single text has none."""
    return bootstrap_mean(values, rng) if len(values) > 1 else float(values.mean())


def checks(parts: Parts, session: Session) -> list[Check]:
    """What was verified: identities, outputs, and the length that the model was trained for."""
    worst = max(float(each["worst"].max()) for each in (*parts.measured, *parts.shuffled))
    context, length = session.shape.context, parts.texts.length
    bound = 1e-5 if session.info.dtype == "float32" else 2e-2
    found = [
        Check(
            name="masses of each query, and attention received over all keys, sum to one",
            passed=worst < 1e-4,
            detail=f"largest error {worst:.1e}",
        ),
        Check(
            name="the model computes what it computes without statistics",
            passed=parts.apart <= bound,
            detail=f"last residual, relative norm a token: at most {parts.apart:.1e} apart",
        ),
    ]
    if context is not None and length > context:
        detail = f"{length} tokens, trained for {context}: what lies beyond is a proof of scale, not a finding"
        found.append(Check(name="beyond the trained context", passed=False, detail=detail))
    return found


def limits(parts: Parts, config: AttentionProfileConfig, session: Session, span: tuple[int, int]) -> list[str]:
    """What the numbers do not say."""
    context, length = session.shape.context, parts.texts.length
    said = [
        "attention says where a head looks, not what it takes from there: values are not weighed in",
        f"headlines hold at this length only (queries {span[0]} to {span[1] - 1}): entropy and masses change with it",
        "means over heads hide specialists; the grids show every head",
    ]
    if context is not None and length > context:
        said.append(
            f"beyond {context} tokens the model was not trained: everything after them is a proof of scale, not a "
            "finding; headlines are measured within"
        )
    if len(parts.texts.texts) == 1:
        said.append("one text: how much the numbers change from text to text is not known")
    elif len(parts.texts.texts) < 10:
        said.append(f"{len(parts.texts.texts)} texts: a bootstrap over so few is too narrow")
    if not parts.shuffled:
        said.append("no control run: headlines are read against uniform attention, a closed form")
    return said


def tables(parts: Parts, session: Session) -> dict[str, pd.DataFrame]:
    """The heaviest keys of the chosen queries of the first text, and every head's means over texts."""
    import pandas as pd

    text, first = parts.texts.texts[0], parts.measured[0]
    words = dict(zip(text.ids.tolist(), session.text_tokens(text.ids.tolist()), strict=True))
    rows = first["query_of_row"].values
    at = np.moveaxis(np.indices(first["topk_index"].shape), 0, -1).reshape(-1, 4)
    keys, weights = first["topk_index"].values.ravel(), first["topk_weight"].values.ravel()
    seen = keys >= 0
    at, keys, weights = at[seen], keys[seen], weights[seen]
    queries = rows[at[:, 2]]
    top = pd.DataFrame(
        {
            "layer": first["layer"].values[at[:, 0]],
            "head": at[:, 1],
            "query": queries,
            "query_token": [words[text.ids[query]] for query in queries],
            "rank": at[:, 3],
            "key": keys,
            "key_token": [words[text.ids[key]] for key in keys],
            "weight": weights,
        }
    )
    by_head = {
        name: np.mean([each[f"scored_{name}"].values for each in parts.measured], axis=0).ravel() for name in UNITS
    }
    layers, heads = first.sizes["layer"], first.sizes["head"]
    place = {"layer": np.repeat(first["layer"].values, heads), "head": np.tile(np.arange(heads), layers)}
    return {"top_keys": top, "heads": pd.DataFrame(place | by_head)}
