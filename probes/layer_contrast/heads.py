"""Which heads DeCoRe makes uniform: those of a run or a table, or those that look at the context's answer."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench.errors import UsageError
from workbench.texts.data_files import read_file

from .sources import Head
from .task.conflicts import Conflict

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.progress import Reporter

TABLE = Path("tables") / "heads.csv"
SHARE = 8
"""At most one head in so many is made uniform."""


def from_table(source: str, session: Session) -> np.ndarray:
    """Scores `[layer, head]` from a run of head-roles or a CSV table with layer, head and copy_score.

    Raises `UsageError` for a table of another model.
    """
    path = Path(source)
    file = read_file(
        source, "heads", "a run of head-roles, a CSV table, 'auto' or 'none'", path / TABLE if path.is_dir() else None
    )
    found = np.full((session.shape.layers, session.shape.heads), np.nan)
    for number, row in enumerate(csv.DictReader(io.StringIO(file.text, newline="")), start=1):
        try:
            layer, head, score = int(row["layer"]), int(row["head"]), float(row["copy_score"])
        except (KeyError, TypeError, ValueError):
            raise file.refuse("a row has layer, head and copy_score, all numbers", f", row {number}") from None
        if not (0 <= layer < found.shape[0] and 0 <= head < found.shape[1]):
            shape = f"{found.shape[0]} layers of {found.shape[1]} heads"
            raise file.refuse(f"there is no head {layer}.{head} in this model of {shape}", f", row {number}")
        found[layer, head] = score
    if not np.isfinite(found).any():
        raise file.refuse("it has no head with a score")
    return found


def looking_at_answers(session: Session, items: Sequence[Conflict], progress: Reporter) -> np.ndarray:
    """Mean attention `[layer, head]` of a prompt's last token on the answer that its context gives."""
    total = np.zeros((session.shape.layers, session.shape.heads))
    used = 0
    for item in progress.steps(items, "heads"):
        encoded = session.tokenizer(item.told, return_offsets_mapping=True)
        ids, start = encoded["input_ids"], item.told.find(item.gold)
        end = start + len(item.gold)
        keys = [place for place, (low, high) in enumerate(encoded["offset_mapping"]) if low < end and high > start]
        if start < 0 or not keys:
            continue
        at = torch.full((len(keys), len(ids)), -1)
        at[:, -1] = torch.tensor(keys)
        seen = session.attention_statistics(ids, stats=(), weights_at=at)
        for layer, found in seen.items():
            total[layer] += found.present()["weights_at"][0, :, :, -1].sum(-1).numpy()
        used += 1
    if not used:
        raise UsageError("no context holds its answer, so no head can be found that looks at it; set heads=none")
    return total / used


def top(scores: np.ndarray, n: int) -> list[Head]:
    """The `n` highest scored heads, at most an eighth of all, as pairs of layer and head."""
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=None, kind="stable")
    count = max(1, min(n, scores.size // SHARE, int(np.isfinite(scores).sum())))
    return [(int(index) // scores.shape[1], int(index) % scores.shape[1]) for index in order[:count]]


def random_beside(chosen: Sequence[Head], layers: int, heads: int, rng: np.random.Generator) -> list[Head]:
    """As many other heads of the same layers; from any layer where one has too few left."""
    found: list[Head] = []
    for layer, count in sorted(Counter(layer for layer, _ in chosen).items()):
        free = [(layer, head) for head in range(heads) if (layer, head) not in chosen]
        found += [free[int(place)] for place in rng.permutation(len(free))[:count]]
    rest = [
        (layer, head)
        for layer in range(layers)
        for head in range(heads)
        if (layer, head) not in chosen and (layer, head) not in found
    ]
    lacking = len(chosen) - len(found)
    return sorted(found + [rest[int(place)] for place in rng.permutation(len(rest))[:lacking]])
