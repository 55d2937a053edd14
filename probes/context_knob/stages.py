"""The course of a run: what the model knows, the sweep, the choice of values, and the scores of both arms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import WorkbenchError
from workbench.internals.adapter_switch import AdapterArms
from workbench.internals.prefix_cache import prefill
from workbench.internals.steering import SteeringSpec, steered
from workbench.probe.contract import Outcome, RunContext
from workbench.texts.facts import Facts, Item, Split, read_facts

from .config import ContextKnobConfig
from .evaluation import answers, configurations
from .findings import outcome
from .knob.learned import SteeringDirection, at_block, best, random_directions, read, wanted_knob
from .learning.adapter_on_off import arms
from .learning.layer_sweep import choose, judge, stretched, sweep
from .parts import Parts
from .search import measure
from .task.items import SampledItems, sample_items
from .task.prompting import Prompter
from .task.tasks import facts_of

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from workbench.internals.session import Session

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Learnt:
    """Items by split, the sweep, and the direction with its values."""

    items: dict[Split, list[Item]]
    swept: xr.Dataset
    found: SteeringDirection
    adapter: str | None


def learn_knob(session: Session, config: ContextKnobConfig, context: RunContext) -> Learnt:
    """Learn a direction and choose its block and values, on the train and validation splits alone."""
    facts = read_facts(config.data)
    with arms(session, config.adapter) as both:
        drawn = _draw(both, facts, config, context, ("train", "validation"))
        items = {split: part.items for split, part in drawn.items()}
        swept = context.stage(
            "sweep", lambda: sweep(both.session, items["train"], items["validation"], config, context)
        )
        found = _choose(both, swept, items["validation"], config, context)
        return Learnt(items, swept, found, both.adapter.id if both.adapter else None)


def run(session: Session, config: ContextKnobConfig, context: RunContext) -> Outcome:
    """Answer the question; the model is left as it was."""
    facts = read_facts(config.data)
    with arms(session, config.adapter) as both:
        drawn = _draw(both, facts, config, context, SPLITS)
        items = {split: part.items for split, part in drawn.items()}
        swept = context.stage(
            "sweep", lambda: sweep(both.session, items["train"], items["validation"], config, context)
        )
        adapter = both.adapter.id if both.adapter else None
        saved = wanted_knob(session, config.knob, adapter)
        found = read(saved) if saved else _choose(both, swept, items["validation"], config, context)
        random = random_directions(config.random, session.shape.d_model, context.rng("random directions"))
        sets = _sets(both, facts, config, context)
        scored, curves, more, searched = {}, {}, {}, {}
        for arm in ["adapter", "plain"] if adapter else ["plain"]:
            with both.without() if arm == "plain" else nullcontext():
                scored[arm], curves[arm] = _measure(both.session, arm, items["test"], found, random, config, context)
                if sets is not None:
                    more[arm] = _configurations(both.session, arm, sets, found, random, config, context)
                if measure.wanted(session, config):
                    searched[arm] = _search(both.session, arm, items, config, context)
    left_out = sets.dropped if sets is not None else {}
    parts = Parts(facts, drawn, swept, found, random, saved, scored, curves, more, left_out, searched, adapter)
    return outcome(parts, config, context)


def _search(
    session: Session, arm: str, items: dict[Split, list[Item]], config: ContextKnobConfig, context: RunContext
) -> xr.Dataset:
    """The layer search of one arm."""
    how = (items["validation"], items["test"], config, context, arm)
    return context.stage(f"search-{arm}", lambda: measure.locate(session, *how))


def _sets(
    both: AdapterArms, facts: Facts, config: ContextKnobConfig, context: RunContext
) -> configurations.Sets | None:
    """Items and shown pairs of the further configurations, where they are wanted."""
    import xarray as xr

    if not config.configurations:
        return None

    def compute() -> xr.Dataset:
        with both.without() as session:
            drawn = configurations.draw_sets(session, facts, config, context)
            return xr.Dataset(attrs={"drawn": configurations.pack(drawn)})

    sets = configurations.unpack(context.stage("items-configurations", compute).attrs["drawn"])
    return sets if sets.items else None


def _configurations(
    session: Session,
    arm: str,
    sets: configurations.Sets,
    found: SteeringDirection,
    random: dict[str, Tensor],
    config: ContextKnobConfig,
    context: RunContext,
) -> xr.Dataset:
    """The further configurations of one arm, with the first random direction as control."""
    knob, control = found.pair(arm), found.pair(arm, next(iter(random.values())))
    return context.stage(
        f"configurations-{arm}",
        lambda: configurations.measure(session, sets, knob, control, config, context.progress, arm),
    )


def _measure(
    session: Session,
    arm: str,
    items: Sequence[Item],
    found: SteeringDirection,
    random: dict[str, Tensor],
    config: ContextKnobConfig,
    context: RunContext,
) -> tuple[xr.Dataset, xr.Dataset]:
    """The scores and the curve of one arm."""
    settings = found.settings(arm, random)
    knob, told = settings["knob"], f"held-out items, {arm}"
    scored = context.stage(
        f"scored-{arm}", lambda: answers.score(session, items, settings, knob, config, context.progress, told)
    )
    return scored, context.stage(f"curve-{arm}", lambda: answers.curve(session, items, knob, config, context.progress))


def _draw(
    both: AdapterArms, facts: Facts, config: ContextKnobConfig, context: RunContext, splits: Sequence[Split]
) -> dict[Split, SampledItems]:
    """Items of splits, on facts that the model knows without its adapter; at least two of each.

    Raises `WorkbenchError` if it knows fewer.
    """
    import xarray as xr

    counts = dict(zip(SPLITS, (config.n_train, config.n_validation, config.n), strict=True))

    def compute() -> xr.Dataset:
        found = {}
        with both.without() as session:
            for split in splits:
                how = (config.contexts, config.split_by == "relation", config.begun)
                rng = context.rng(f"items {split}")
                usable = facts_of(facts, config.task, config.contexts, context.rng("contexts"))
                found[split] = sample_items(session, usable, split, counts[split], *how, rng, context.progress)
        return xr.Dataset(attrs={"drawn": json.dumps({split: asdict(part) for split, part in found.items()})})

    held = json.loads(context.stage("items", compute).attrs["drawn"])
    drawn: dict[Split, SampledItems] = {}
    for split in splits:
        part = held[split]
        if len(part["items"]) < 2:
            raise WorkbenchError(
                f"of {part['asked']} facts of the {split} split the model knows {len(part['items'])}, and 2 are "
                "needed: give other facts, or a larger model"
            )
        drawn[split] = SampledItems([Item(**item) for item in part["items"]], part["asked"], part["unknown"])
    return drawn


def _choose(
    both: AdapterArms, swept: xr.Dataset, validation: Sequence[Item], config: ContextKnobConfig, context: RunContext
) -> SteeringDirection:
    """The best block of the sweep, and for the model without its adapter a stretch chosen on the same items."""
    place, stretch = best(swept)
    if both.adapter is None:
        return at_block(swept, place, {"plain": stretch})
    found = at_block(swept, place, {"adapter": stretch})
    with both.without() as session:
        right = _steering(session, found, validation, config, context)
    _, plain = choose(right[None])
    return at_block(swept, place, {"adapter": stretch, "plain": config.stretches[plain]})


def _steering(
    session: Session, found: SteeringDirection, items: Sequence[Item], config: ContextKnobConfig, context: RunContext
) -> np.ndarray:
    """Whether items are answered right, by stretch and intent: `[stretch, intent, example]`."""
    prompter = Prompter(session, config.begun)
    waiting = prefill(session, [prompter.ask(item, False, "none") for item in items])
    settings = [
        SteeringSpec(found.layer, found.direction, value)
        for stretch in config.stretches
        for value in stretched(found.natural, stretch)
    ]
    said = steered(session, waiting, settings, context.progress, "values without the adapter")
    return judge(said, items, config).reshape(len(config.stretches), 2, len(items))
