"""The held-out items, asked and steered: everything that the headlines are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.internals.prefix_cache import answers, prefill, residuals
from workbench.internals.steering import SteeringSpec, next_tokens, steered
from workbench.records.results import variable
from workbench.texts.facts import Item

from ..config import ContextKnobConfig
from ..learning.layer_sweep import INTENT_DIM
from ..task.matching import Matching, rule
from ..task.prompting import Prompter

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.progress import Reporter

ROWS = 16
"""Items that are asked at once."""
Pair = tuple[SteeringSpec, SteeringSpec]
"""The settings for the prior and for the context."""


def score(
    session: Session,
    items: Sequence[Item],
    settings: Mapping[str, Pair],
    knob: Pair,
    config: ContextKnobConfig,
    progress: Reporter,
    stage: str,
) -> xr.Dataset:
    """Answers by condition: `asked` with the intent line; without it `unsteered`, and with each of `settings`.

    Also the value along the knob's direction at the last token of the asked prompts, `[intent, example]`.
    """
    import xarray as xr

    prompter = Prompter(session, config.begun)
    names = ["asked", "unsteered", *settings]
    said: list[list[list[str]]] = [[[], []] for _ in names]
    values: list[list[float]] = [[], []]
    direction, layer = knob[0].direction, knob[0].layer
    starts = range(0, len(items), ROWS)
    for start in progress.steps(starts, stage):
        part = items[start : start + ROWS]
        waiting = prefill(session, [prompter.ask(item, way, config.intent) for way in (False, True) for item in part])
        along = (residuals(session, waiting, [layer])[0] @ direction).tolist()
        text = answers(session, waiting)
        for way in (0, 1):
            said[0][way] += text[way * len(part) : (way + 1) * len(part)]
            values[way] += along[way * len(part) : (way + 1) * len(part)]
        waiting = prefill(session, [prompter.ask(item, False, "none") for item in part])
        plain = answers(session, waiting.pick(range(len(part))))
        each = steered(session, waiting, [at for pair in settings.values() for at in pair], progress, stage)
        for way in (0, 1):
            said[1][way] += plain
            for place in range(len(settings)):
                said[2 + place][way] += each[2 * place + way]
    dims = ("condition", "intent", "example")

    def judge(matching: Matching, opposite: bool = False) -> np.ndarray:
        return _judged(said, items, matching, opposite)

    return xr.Dataset(
        {
            "strict": variable(dims, judge("strict"), "", "whether the answer is right, as whole words"),
            "prefix": variable(dims, judge("prefix"), "", "right by the published rule"),
            "opposite": variable(
                dims,
                judge("strict", opposite=True),
                "",
                "whether the answer is the other intent's, as whole words",
            ),
            "said": variable(dims, np.array(said, dtype=object).astype(str), "", "the answer"),
            "value": variable(
                ("intent", "example"),
                np.array(values),
                "residual units",
                "value along the knob's direction at the last token of the asked prompt",
            ),
        },
        coords={
            "condition": names,
            "intent": INTENT_DIM,
            "example": range(len(items)),
            **{
                name: ("example", [getattr(item, name) for item in items])
                for name in ("subject", "relation", "query", "context", "prior", "other")
            },
        },
    )


def _judged(
    said: Sequence[Sequence[Sequence[str]]],
    items: Sequence[Item],
    matching: Matching,
    opposite: bool = False,
) -> np.ndarray:
    """Whether answers `[condition][intent][example]` are the intent's, or the opposite one's."""

    def right(text: str, item: Item, way: int) -> bool:
        return rule(matching, item.task)(text, item.answer((way == 1) != opposite))

    return np.array(
        [
            [[right(text, item, way) for text, item in zip(row, items, strict=True)] for way, row in enumerate(each)]
            for each in said
        ]
    )


def curve(
    session: Session, items: Sequence[Item], knob: Pair, config: ContextKnobConfig, progress: Reporter
) -> xr.Dataset:
    """Probability of each answer's first token over the value that is set, mean over items, without an intent line."""
    import xarray as xr

    prompter = Prompter(session, config.begun)
    items = items[: config.curve_items]
    low, high = knob[0].value, knob[1].value
    middle, half = (low + high) / 2, (high - low) / 2
    values = [middle + half * place for place in np.linspace(-1.5, 1.5, config.curve)]
    waiting = prefill(session, [prompter.ask(item, False, "none") for item in items])
    firsts = torch.tensor([[prompter.answer(item.answer(way))[0] for way in (False, True)] for item in items])
    found = []
    for value in progress.steps(values, "values of the knob"):
        chances = next_tokens(session, waiting, [SteeringSpec(knob[0].layer, knob[0].direction, value)])[0]
        found.append(chances.gather(-1, firsts).T.numpy())
    return xr.Dataset(
        {
            "probability": variable(
                ("bin", "intent", "example"),
                np.array(found),
                "probability",
                "of the first token of the answer from the prior, and of that from the context",
            )
        },
        coords={
            "bin": range(len(values)),
            "set_to": ("bin", values, {"description": "value along the direction"}),
            "intent": INTENT_DIM,
            "example": range(len(items)),
        },
    )
