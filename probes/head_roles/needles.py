"""The needles of a run: two sets without a common key or answer, placed at every length and depth in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import UsageError
from workbench.records.record import DataUse
from workbench.texts import Haystack, Needle, fill, make_needles, read_haystack, read_needles
from workbench.texts.needles import BUILT_IN, digest
from workbench.texts.placement import Trial, Unplaceable, place

from .config import FRAME, HeadRolesConfig

if TYPE_CHECKING:
    from workbench.probe.contract import RunContext


@dataclass
class Needles:
    """Needles to select on and to score on, the haystack, and what became of them."""

    selection: Sequence[Needle]
    held_out: Sequence[Needle]
    haystack: Haystack
    source: str
    dropped: Counter[str] = field(default_factory=Counter)

    def trials(
        self, split: str, n: int, lengths: Sequence[int], depths: int, tokenizer: Any, rng: np.random.Generator
    ) -> list[Trial]:
        """`n` trials with needles of a split; neighbours differ in depth, and each round of depths in length.

        Raises `UsageError` if the split has too few needles that can be placed.
        """
        needles = self.selection if split == "selection" else self.held_out
        depth_grid = np.linspace(0.0, 1.0, depths) if depths > 1 else np.array([0.5])
        length_of = _counter(tokenizer)
        made: list[Trial] = []
        for needle in needles:
            if len(made) == n:
                break
            length = lengths[len(made) // depths % len(lengths)]
            frame = length_of(f"{needle.sentence} {needle.question} {needle.prefix} {needle.answer}")
            room = length - max(frame + 16, FRAME)
            if room < 1:
                self.dropped["the needle does not fit into the length"] += 1
                continue
            sentences = fill(self.haystack, room, length_of, rng)
            try:
                trial = place(tokenizer, needle, sentences, float(depth_grid[len(made) % depths]))
                made.append(replace(trial, asked_length=length))
            except Unplaceable as reason:
                self.dropped[str(reason)] += 1
        if len(made) < n:
            reasons = "; ".join(f"{count}: {reason}" for reason, count in self.dropped.items())
            raise UsageError(
                f"{n} {split} needles were asked for and {len(made)} of {len(needles)} can be used"
                + (f" ({reasons})" if reasons else "")
                + "; ask for fewer or give more needles"
            )
        return made

    def uses(self, used: int, counted: int, unanswered: int) -> list[DataUse]:
        """What the run's record says about its data: needles used, and those whose generated answers counted."""
        sha256 = digest([*self.selection, *self.held_out])
        return [
            DataUse(
                name=self.source,
                sha256=sha256,
                n_used=used,
                n_dropped=sum(self.dropped.values()),
                reasons=dict(self.dropped),
            ),
            DataUse(name=f"haystack {self.haystack.name}", sha256=self.haystack.sha256, n_used=used),
            DataUse(
                name=f"{self.source}, generated answers",
                sha256=sha256,
                n_used=counted,
                n_dropped=unanswered,
                reasons={"not answered (ROUGE-1 recall at most 0.5)": unanswered} if unanswered else {},
            ),
        ]


def load(config: HeadRolesConfig, context: RunContext) -> Needles:
    """The needles and the haystack that the settings name."""
    rng = context.rng("needles")
    if config.data == BUILT_IN:
        # some more than asked for: a tokenizer may be unable to place one exactly
        selection, held_out = make_needles(2 * max(config.n, config.n_selection), rng)
    else:
        selection, held_out = read_needles(config.data, rng)
    return Needles(selection, held_out, read_haystack(config.haystack), config.data)


def lengths(config: HeadRolesConfig) -> list[int]:
    """The prompt lengths of the scoring trials, the shortest first."""
    return [
        round(float(length))
        for length in np.linspace(config.length, config.shortest or config.length, config.lengths)[::-1]
    ]


def _counter(tokenizer: Any) -> Callable[[str], int]:
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
