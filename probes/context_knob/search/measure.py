"""The layer search of one arm: searched on validation items, read again on held-out ones, with the plain sweep."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.internals.patchscope import PatchScope
from workbench.probe.statistics import mean_bounds
from workbench.records.results import variable
from workbench.texts.facts import Item

from ..config import ContextKnobConfig
from .algorithm import Look, Searched, Thresholds, chosen_tau, search
from .patching import SETUPS, CleanRuns, Patching, PatchPair, paired

if TYPE_CHECKING:
    import xarray as xr

    from workbench.internals.session import Session
    from workbench.probe.contract import RunContext

ENOUGH = 8
"""Items answered right under both intents from which on the others are left out, as in the published code."""
CONDITIONS = {
    "none": "no patch",
    "found": "the blocks that were found",
    "others": "all other blocks",
    "every": "every block",
}
ANSWERS = ["source", "target"]
READ = "read by the PatchScope after a block"
PATCHED = "as the next token, with the blocks from this one on patched"


def wanted(session: Session, config: ContextKnobConfig) -> bool:
    """Whether the settings ask for a search and the model's attention outputs can be read."""
    return config.search and "attn_out" in session.hooked.kinds


def locate(
    session: Session,
    validation: Sequence[Item],
    test: Sequence[Item],
    config: ContextKnobConfig,
    context: RunContext,
    arm: str,
) -> xr.Dataset:
    """Search for the blocks through which answers and intent reach the last token, in all four settings.

    Thresholds and blocks come from validation items alone; probabilities, and their intervals, from held-out ones.
    """
    scope = PatchScope(session)
    asked = [
        CleanRuns(session, part[: config.search_items], config.intent, config.begun) for part in (validation, test)
    ]
    looking, held_out = map(_sure, asked)
    counted = _Counted(context, f"layer search, {arm}", session.shape.layers)
    found: dict[str, Searched] = {}
    limits: dict[str, Thresholds] = {}
    read, alone = [], []
    for setting in SETUPS:
        here, there = (_patching(each, setting, scope, context) for each in asked)
        limits[setting], found[setting] = _searched(here, session.shape.layers, config, counted)
        read.append(_conditions(there, held_out, found[setting].blocks, session.shape.layers, counted))
        alone.append(_alone(there, held_out, session.shape.layers, counted))
    subjects = [item.subject for item in held_out]
    rng = context.rng(f"interval search {arm}")
    counts = {"looked_at": len(looking), "held_out": len(held_out)}
    readings = _with_interval(np.stack(read), subjects, rng)
    return _dataset(found, limits, readings, _with_interval(np.stack(alone), subjects, rng), counts, subjects)


class _Counted:
    """Tells of each evaluation, and stops between two of them; how many come is an estimate."""

    def __init__(self, context: RunContext, stage: str, layers: int) -> None:
        self._progress, self._stage, self._done = context.progress, stage, 0
        self._expected = len(SETUPS) * (2 * int(np.ceil(np.log2(layers))) + 4 + len(CONDITIONS) + 2)

    def __call__(self, read: Callable[[Collection[int]], torch.Tensor]) -> Callable[[Collection[int]], torch.Tensor]:
        def counted(blocks: Collection[int]) -> torch.Tensor:
            self.tell()
            return read(blocks)

        return counted

    def tell(self) -> None:
        self._progress.send(self._done, max(self._expected, self._done + 1), self._stage)
        self._done += 1


def _patching(asked: CleanRuns, setting: str, scope: PatchScope, context: RunContext) -> Patching | None:
    runs = paired(asked.prompter, _sure(asked), setting)
    return Patching(asked, runs, scope, context.progress) if runs else None


def _sure(asked: CleanRuns) -> list[Item]:
    """The items whose first answer token is right under both intents; all where they are too few."""
    kept = [item for item, right in zip(asked.items, asked.right.all(1).tolist(), strict=True) if right]
    return kept if len(kept) >= ENOUGH else asked.items


def _searched(
    here: Patching | None, layers: int, config: ContextKnobConfig, counted: _Counted
) -> tuple[Thresholds, Searched]:
    """The thresholds chosen on these runs, and what the search found with them."""
    if here is None:
        return Thresholds(np.nan, config.epsilon, config.phi), Searched("out of reach", ())
    known: dict[tuple[int, ...], np.ndarray] = {}
    reading = counted(here.read)

    def means(blocks: Collection[int]) -> np.ndarray:
        at = tuple(blocks)
        if at not in known:
            known[at] = reading(at).mean(1).numpy()
        return known[at]

    tau = chosen_tau(means(range(layers))[:, 0]) if config.tau is None else config.tau
    limits = Thresholds(tau, config.epsilon, config.phi)
    return limits, search(means, layers, limits)


def _conditions(
    there: Patching | None, items: Sequence[Item], blocks: Sequence[int], layers: int, counted: _Counted
) -> np.ndarray:
    """Probability of both answers under each condition, `[condition, layer, example, answer]`; NaN without a run."""
    found = np.full((len(CONDITIONS), layers, len(items), 2), np.nan)
    if there is None:
        return found
    others = [layer for layer in range(layers) if layer not in blocks] if blocks else []
    read, at = counted(there.read), _places(items, there.runs)
    for place, patched in enumerate(([], blocks, others, range(layers))):
        found[place][:, at] = read(patched).numpy()
    return found


def _alone(there: Patching | None, items: Sequence[Item], layers: int, counted: _Counted) -> np.ndarray:
    """Probability of both answers as the next token, with each block and each window of blocks patched by itself.

    `[width, layer, example, answer]`, NaN where a window would end after the last block.
    """
    sizes = widths(layers)
    found = np.full((len(sizes), layers, len(items), 2), np.nan)
    if there is None:
        return found
    at = _places(items, there.runs)
    for place, width in enumerate(sizes):
        counted.tell()
        for layer in range(layers - width + 1):
            found[place, layer, at] = there.next(range(layer, layer + width)).numpy()
    return found


def widths(layers: int) -> list[int]:
    """How many neighbouring blocks the sweep patches at once: one, and a sixth of them."""
    return [1, max(2, round(layers / 6))]


def _places(items: Sequence[Item], runs: Sequence[PatchPair]) -> list[int]:
    return [list(items).index(each.target[0]) for each in runs]


def _with_interval(values: np.ndarray, subjects: Sequence[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Values `[…, example, answer]`, their means `[…, answer]` and intervals with subjects drawn again."""
    low, high = mean_bounds(np.moveaxis(values, -2, 0), rng, subjects)
    there = ~np.isnan(values)
    total = np.where(there, values, 0.0).sum(-2)
    mean = np.divide(total, there.sum(-2), out=np.full_like(total, np.nan), where=there.any(-2))
    return {"probability": values, "mean": mean, "low": low, "high": high}


def _dataset(
    found: dict[str, Searched],
    limits: dict[str, Thresholds],
    read: dict[str, np.ndarray],
    alone: dict[str, np.ndarray],
    counts: dict[str, int],
    subjects: Sequence[str],
) -> xr.Dataset:
    import xarray as xr

    layers = alone["mean"].shape[2]
    looks: list[tuple[str, Look]] = [(setting, look) for setting, each in found.items() for look in each.looks]
    dims = ("setting", "condition", "layer", "answer")
    by_example = (*dims[:3], "example", "answer")
    share = "probability"
    about = {
        "probability": f"of the first token of an answer, {READ}",
        "mean": "the same, mean over examples",
        "low": "lower end of its interval",
        "high": "upper end of its interval",
    }

    def texts(values: Sequence[str]) -> np.ndarray:
        return np.array(list(values), dtype=object).astype(str)

    def patched(blocks: Sequence[Sequence[int]]) -> np.ndarray:
        return np.array([[layer in each for layer in range(layers)] for each in blocks]).reshape(-1, layers)

    return xr.Dataset(
        {
            **{
                name: variable(by_example if name == "probability" else dims, values, share, about[name])
                for name, values in read.items()
            },
            **{
                "alone" if name == "probability" else f"alone_{name}": variable(
                    ("setting", "width", *(by_example if name == "probability" else dims)[2:]),
                    values,
                    share,
                    about[name].replace(READ, PATCHED),
                )
                for name, values in alone.items()
            },
            "found": variable(
                ("setting", "layer"),
                patched([each.blocks for each in found.values()]),
                "",
                "whether the search returned this block",
            ),
            "verdict": variable("setting", texts([each.verdict for each in found.values()]), "", "how a search ended"),
            "tau": variable("setting", [limits[each].tau for each in found], share, "threshold of bounds"),
            "epsilon": variable("setting", [limits[each].epsilon for each in found], share, "margin at the output"),
            "phi": variable("setting", [limits[each].phi for each in found], share, "loss that is overwriting"),
            "step": variable("look", texts([look.step for _, look in looks]), "", "part of the search"),
            "decision": variable("look", texts([look.decision for _, look in looks]), "", "what was concluded"),
            "patched": variable(
                ("look", "layer"), patched([look.blocks for _, look in looks]), "", "whether this block was patched"
            ),
            "source": variable(
                ("look", "layer"),
                np.array([look.source for _, look in looks]).reshape(-1, layers),
                share,
                "of the source's answer, mean over validation items",
            ),
            "target": variable(
                ("look", "layer"),
                np.array([look.target for _, look in looks]).reshape(-1, layers),
                share,
                "of the target's answer, mean over validation items",
            ),
        },
        coords={
            "setting": ("setting", list(SETUPS), {"description": "which run is patched into which"}),
            "condition": list(CONDITIONS),
            "layer": range(layers),
            "answer": ("answer", ANSWERS, {"description": "whose answer"}),
            "example": range(len(subjects)),
            "subject": ("example", list(subjects)),
            "width": ("width", widths(layers), {"description": "neighbouring blocks patched at once"}),
            "look": ("look", range(len(looks)), {"description": "one evaluation of the search"}),
            "looked_for": ("look", texts([setting for setting, _ in looks]), {"description": "setting of a look"}),
        },
        attrs=counts,
    )
