"""The same direction in other settings: few-shot, another intent line, paragraphs, two steps, arithmetic.

Each configuration is a figure of its own; none is pooled with another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from workbench.errors import UsageError
from workbench.internals.prefix_cache import answers, prefill, residuals
from workbench.internals.steering import steered
from workbench.records.results import variable
from workbench.texts.facts import Contexts, Facts, Item, Task

from ..config import ContextKnobConfig
from ..learning.layer_sweep import INTENT_DIM
from ..task.items import sample_items
from ..task.matching import published, strict
from ..task.prompting import Intent, Prompter
from .answers import Pair

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.probe.contract import RunContext
    from workbench.progress import Reporter

ROWS = 8
"""Items that are asked at once; few-shot prompts are long."""
SETS: tuple[tuple[Task, Contexts], ...] = (
    ("base", "sentence"),
    ("base", "paragraph"),
    ("multihop", "paragraph"),
    ("arithmetic", "sentence"),
)


@dataclass(frozen=True)
class Sets:
    """Held-out items by task and contexts, and the training items shown before few-shot prompts by contexts."""

    items: Mapping[tuple[Task, Contexts], Sequence[Item]]
    shown: Mapping[Contexts, Sequence[Item]]
    dropped: Mapping[str, str]
    """Why a set is missing, by its name."""


@dataclass(frozen=True)
class Setup:
    """One way to ask: the task, its contexts, pairs shown before, and how the intent is told; `none` is steered."""

    task: Task
    contexts: Contexts
    shots: int
    told: Intent


def setups(sets: Sets, shots: int) -> list[Setup]:
    """Every combination of shots, intent line and contexts for the base task, and the other tasks zero-shot."""
    found = []
    for task, contexts in sets.items:
        for count in (0, shots) if task == "base" and shots and contexts in sets.shown else (0,):
            told: tuple[Intent, ...] = ("instruction", "float", "none") if task == "base" else ("instruction", "none")
            found += [Setup(task, contexts, count, each) for each in told]
    return found


def draw_sets(session: Session, facts: Facts, config: ContextKnobConfig, context: RunContext) -> Sets:
    """Items whose fact the model, without its adapter, knows; what the facts do not offer is left out, and why."""
    from ..task.tasks import facts_of

    items: dict[tuple[Task, Contexts], Sequence[Item]] = {}
    shown: dict[Contexts, Sequence[Item]] = {}
    dropped: dict[str, str] = {}
    for task, contexts in SETS:
        name = f"{task}, {contexts}"
        try:
            usable = facts_of(facts, task, contexts, context.rng(f"contexts {task} {contexts}"))
        except UsageError as error:
            dropped[name] = str(error)
            continue
        how = (contexts, config.split_by == "relation" and task != "arithmetic", config.begun)
        rng = context.rng("items test")
        drawn = sample_items(session, usable, "test", config.configurations, *how, rng, context.progress)
        if len(drawn.items) < 2:
            dropped[name] = f"of {drawn.asked} facts the model knows {len(drawn.items)}"
            continue
        items[task, contexts] = drawn.items
        if task == "base" and config.shots:
            rng = context.rng("items train")
            before = sample_items(session, usable, "train", config.shots, *how, rng, context.progress)
            if len(before.items) == config.shots:
                shown[contexts] = before.items
    return Sets(items, shown, dropped)


def pack(sets: Sets) -> str:
    """Sets as JSON; `unpack` reads them."""
    items = [[*key, [asdict(item) for item in part]] for key, part in sets.items.items()]
    shown = [[key, [asdict(item) for item in part]] for key, part in sets.shown.items()]
    return json.dumps({"items": items, "shown": shown, "dropped": dict(sets.dropped)})


def unpack(text: str) -> Sets:
    """What `pack` wrote."""
    held = json.loads(text)
    return Sets(
        {(task, contexts): [Item(**item) for item in part] for task, contexts, part in held["items"]},
        {contexts: [Item(**item) for item in part] for contexts, part in held["shown"]},
        held["dropped"],
    )


def measure(
    session: Session,
    sets: Sets,
    knob: Pair,
    random: Pair,
    config: ContextKnobConfig,
    progress: Reporter,
    arm: str,
) -> xr.Dataset:
    """Answers and values of one arm in every configuration; where no intent is told, the knob is set instead.

    Examples that a configuration has not are NaN. `random_right`: the random direction in the knob's place.
    """
    import xarray as xr

    ways = setups(sets, config.shots)
    count = max(len(sets.items[way.task, way.contexts]) for way in ways)
    shape = (len(ways), 2, count)
    found = {name: np.full(shape, np.nan) for name in ("right", "published", "opposite", "random_right", "value")}
    found["random_value"] = np.full(shape, np.nan)
    subjects = np.full((len(ways), count), "", dtype=object)
    for place, way in enumerate(ways):
        items = sets.items[way.task, way.contexts]
        subjects[place, : len(items)] = [item.subject for item in items]
        shots = sets.shown[way.contexts] if way.shots else ()
        for start in progress.steps(range(0, len(items), ROWS), f"{_name(way)}, {arm}"):
            part = items[start : start + ROWS]
            for name, values in _ask(session, part, way, shots, knob, random, config, progress).items():
                found[name][place, :, start : start + len(part)] = values
    about = {
        "right": "whether the answer is right, as whole words; steered where no intent is told",
        "published": "whether it is right by the published rule of its task",
        "opposite": "whether the answer is the other intent's, as whole words",
        "random_right": "whether it is right with a value set along a random direction, where no intent is told",
        "value": "value along the knob's direction at the last token of the prompt",
        "random_value": "value along a random direction at the last token of the prompt",
    }
    dims = ("configuration", "intent", "example")
    return xr.Dataset(
        {
            name: variable(dims, each, "residual units" if "value" in name else "1", about[name])
            for name, each in found.items()
        },
        coords={
            "configuration": ("configuration", [_name(way) for way in ways], {"description": "one way to ask"}),
            "intent": INTENT_DIM,
            "example": range(count),
            "subject": (("configuration", "example"), subjects.astype(str)),
            **{
                name: ("configuration", [getattr(way, name) for way in ways])
                for name in ("task", "contexts", "shots", "told")
            },
        },
    )


def _ask(
    session: Session,
    items: Sequence[Item],
    way: Setup,
    shots: Sequence[Item],
    knob: Pair,
    random: Pair,
    config: ContextKnobConfig,
    progress: Reporter,
) -> dict[str, np.ndarray]:
    """What is found for some items in one configuration, `[intent, example]` by name."""
    prompter = Prompter(session, config.begun)
    if way.told == "none":
        waiting = prefill(session, [prompter.ask(item, False, "none", shots) for item in items])
        four = steered(session, waiting, [*knob, *random], progress, "steering")
        return {**_judged(four[:2], items), "random_right": _judged(four[2:], items)["right"]}
    rows = [prompter.ask(item, source, way.told, shots) for source in (False, True) for item in items]
    waiting = prefill(session, rows)
    states = residuals(session, waiting, [knob[0].layer])[0]
    said = answers(session, waiting)
    split = [said[: len(items)], said[len(items) :]]
    return {
        **_judged(split, items),
        "value": _along(states, knob[0].direction),
        "random_value": _along(states, random[0].direction),
    }


def _judged(said: Sequence[Sequence[str]], items: Sequence[Item]) -> dict[str, np.ndarray]:
    both = [list(zip(row, items, strict=True)) for row in said]
    ways = list(enumerate(both))
    return {
        "right": np.array([[strict(text, item.answer(way == 1)) for text, item in row] for way, row in ways]),
        "published": np.array(
            [[published(item.task)(text, item.answer(way == 1)) for text, item in row] for way, row in ways]
        ),
        "opposite": np.array([[strict(text, item.answer(way == 0)) for text, item in row] for way, row in ways]),
    }


def _along(states: Tensor, direction: Tensor) -> np.ndarray:
    return np.asarray((states @ direction).reshape(2, -1), np.float64)


def _name(way: Setup) -> str:
    shots = f"{way.shots} pairs shown" if way.shots else "zero-shot"
    told = "steered" if way.told == "none" else way.told
    return ", ".join([way.task, way.contexts, shots, told])


def gap(values: np.ndarray) -> float:
    """The separation: |mean value under the context's intent − under the prior's|, of `[intent, example]`."""
    means = np.nanmean(values, axis=1)
    return float(abs(means[1] - means[0]))
