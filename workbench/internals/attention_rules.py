"""What edits make of attention in one pass: classes of queries and keys, and small tables of what holds between them.

Whatever the edits, a query is one of a few kinds, and so is a key. All that is edited stands in tables of kind × kind,
and nothing has the size of query × key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import UsageError
from .attention_edits import (
    AttentionEdit,
    DocumentMask,
    KeyEdit,
    KnockOut,
    ScoreEdit,
    WeightEdit,
    WindowEdit,
)
from .edit_frame import Frame
from .fixed_weights import FixedWeights
from .position_edits import Placement, PositionEdit, placement
from .token_positions import by_row, columns_of

FAR = 2**30
"""A window that hides nothing."""


@dataclass(frozen=True, eq=False)
class Rule:
    """What holds in one pass for some heads; A classes of queries, C of keys.

    query_class, key_class: `[batch, query]`, `[batch, key]`. sees, factor, addend, weight, sinks: `[A, C]`: whether
    keys are visible, what scores are multiplied by and raised by, what weights are multiplied by, and whether keys are
    seen beyond the window. window: how many tokens back each class of queries sees. source: 0 for their own queries
    and keys, n for those of `fixed[n - 1]`. edited: which classes of queries differ from what the model does.
    """

    query_class: Tensor
    key_class: Tensor
    sees: Tensor
    factor: Tensor
    addend: Tensor
    weight: Tensor
    sinks: Tensor
    window: tuple[int, ...]
    source: tuple[int, ...]
    edited: tuple[bool, ...]
    fixed: tuple[FixedWeights, ...]
    placement: Placement | None
    frame: Frame
    start: int
    """The column of the first query."""
    key_start: int
    """The column of the first key."""

    @cached_property
    def rows(self) -> Tensor:
        """Which queries are edited, bool `[batch, query]`."""
        return torch.tensor(self.edited, device=self.query_class.device)[self.query_class]

    @property
    def changes(self) -> bool:
        """Whether any query is edited."""
        return bool(self.rows.any())

    def of_class(self, values: Sequence[int]) -> Tensor:
        """A value of each query class, on the rule's device."""
        return torch.tensor(values, device=self.query_class.device)


def rule(edits: Sequence[AttentionEdit], frame: Frame, queries: int, keys: int, device: torch.device) -> Rule:
    """The rule of edits that act in a pass of `queries` tokens which sees `keys` of the columns up to its last.

    Raises `UsageError` where an edit does not fit the prompt, or two do not fit together.
    """
    start = frame.before
    key_start = start + queries - keys
    if key_start < 0:
        raise UsageError(
            f"attention here sees {keys} keys, and {start + queries} tokens went in: edits of attention need to know "
            "each of them"
        )
    masks = [edit for edit in edits if not isinstance(edit, PositionEdit) and not _sees_all(edit, start + queries)]
    moves = tuple(edit for edit in edits if isinstance(edit, PositionEdit))
    columns = torch.arange(start + queries)
    query_ids = [_query_ids(edit, frame, columns[start:]) for edit in masks]
    key_ids = [_key_ids(edit, frame, columns[key_start:]) for edit in masks]
    query_class, of_queries = _classes(query_ids, (frame.tokens.batch, queries))
    key_class, of_keys = _classes(key_ids, (frame.tokens.batch, keys))
    tables = _Tables(len(of_queries), len(of_keys))
    for index, edit in enumerate(masks):
        tables.apply(edit, of_queries[:, index], of_keys[:, index])
    edited = [True] * len(of_queries) if moves else tables.edited()
    return Rule(
        query_class.to(device),
        key_class.to(device),
        tables.sees.to(device),
        tables.factor.to(device),
        tables.addend.to(device),
        tables.weight.to(device),
        tables.sinks.to(device),
        tuple(tables.window),
        tuple(tables.source),
        tuple(edited),
        tuple(tables.fixed),
        placement(moves, frame, start + queries) if moves else None,
        frame,
        start,
        key_start,
    )


def _sees_all(edit: AttentionEdit, columns: int) -> bool:
    """Whether an edit is a window that reaches back to the first column."""
    return isinstance(edit, WindowEdit) and edit.recent >= columns


class _Tables:
    """Tables that start as attention is, and are changed edit by edit."""

    def __init__(self, queries: int, keys: int) -> None:
        shape = (queries, keys)
        self.sees = torch.ones(shape, dtype=torch.bool)
        self.sinks = torch.zeros(shape, dtype=torch.bool)
        self.factor, self.weight = (torch.ones(shape, dtype=torch.float64) for _ in range(2))
        self.addend = torch.zeros(shape, dtype=torch.float64)
        self.window = [FAR] * queries
        self.source = [0] * queries
        self.fixed: list[FixedWeights] = []

    def apply(self, edit: AttentionEdit, queries: Tensor, keys: Tensor) -> None:
        """One edit, given which classes of queries `[A]` and keys `[C]` it names; document masks name documents."""
        hit = (queries > 0)[:, None] & (keys > 0)[None]
        if isinstance(edit, KnockOut) and edit.renormalise:
            self.sees &= ~hit
        elif isinstance(edit, KnockOut):
            self.weight[hit] = 0.0
        elif isinstance(edit, WeightEdit):
            self.weight[hit] *= edit.factor
        elif isinstance(edit, ScoreEdit):
            if edit.op == "scale":
                self.factor[hit] *= edit.value
                self.addend[hit] *= edit.value
            else:
                self.addend[hit] += edit.value
        elif isinstance(edit, WindowEdit):
            self._look_back(edit, queries, hit)
        elif isinstance(edit, DocumentMask):
            self.sees &= _allowed(edit, queries, keys)
        elif isinstance(edit, FixedWeights):
            self._fix(edit, queries)
        else:
            raise UsageError(f"{type(edit).__name__} is no edit of attention that is known here")

    def _look_back(self, edit: WindowEdit, queries: Tensor, hit: Tensor) -> None:
        for index in queries.nonzero()[:, 0].tolist():
            if self.window[index] != FAR:
                raise UsageError("two windows at the same queries of one head: give one")
            self.window[index] = edit.recent
        self.sinks |= hit

    def _fix(self, edit: FixedWeights, queries: Tensor) -> None:
        uniform = isinstance(edit.to, str)
        if not uniform:
            self.fixed.append(edit)
        for index in queries.nonzero()[:, 0].tolist():
            self.factor[index] = 0.0 if uniform else 1.0
            self.addend[index] = 0.0
            self.source[index] = 0 if uniform else len(self.fixed)

    def edited(self) -> list[bool]:
        """Which classes of queries are not as attention is."""
        same = self.sees & (self.factor == 1) & (self.addend == 0) & (self.weight == 1)
        plain = same.all(dim=1).tolist()
        rows = zip(plain, self.window, self.source, strict=True)
        return [not one or window != FAR or source != 0 for one, window, source in rows]


def _allowed(edit: DocumentMask, queries: Tensor, keys: Tensor) -> Tensor:
    """Which documents see which, by numbers from 1 on; 0 is no document, which sees and is seen by all."""
    if edit.sees is None:
        return (queries[:, None] == keys[None]) | (queries == 0)[:, None] | (keys == 0)[None]
    count = len(edit.sees) + 1
    table = torch.ones(count, count, dtype=torch.bool)
    table[1:, 1:] = torch.tensor(edit.sees)
    return table[queries[:, None], keys[None]]


def _query_ids(edit: AttentionEdit, frame: Frame, columns: Tensor) -> Tensor:
    """Which queries an edit names, 0 for none, `[batch, query]`."""
    if isinstance(edit, DocumentMask):
        return _documents(edit, frame, columns)
    return _named(edit.queries, "queries", frame, columns)


def _key_ids(edit: AttentionEdit, frame: Frame, columns: Tensor) -> Tensor:
    if isinstance(edit, DocumentMask):
        return _documents(edit, frame, columns)
    if isinstance(edit, WindowEdit):
        place = columns - frame.pads[:, None]
        return ((place >= 0) & (place < edit.sinks)).long()
    if isinstance(edit, KeyEdit):
        return _named(edit.keys, "keys", frame, columns)
    return torch.zeros(frame.tokens.batch, len(columns), dtype=torch.int64)


def _named(positions: object, word: str, frame: Frame, columns: Tensor) -> Tensor:
    """1 at the positions of the prompt that are named, at every real token if None."""
    place = columns - frame.pads[:, None]
    if positions is None:
        prompt = (place >= 0) & (place < frame.tokens.lengths.cpu()[:, None])
        return (prompt | (columns >= frame.tokens.width)).long()
    asked, keep = columns_of(frame.tokens.lengths, positions, word)  # type: ignore[arg-type]
    found = torch.zeros(frame.tokens.batch, frame.tokens.width + 1, dtype=torch.int64)
    found.scatter_(1, torch.where(keep, asked, frame.tokens.width), 1)
    found[:, -1] = 0
    inside = (place >= 0) & (columns < frame.tokens.width)
    return found.gather(1, torch.where(inside, place, frame.tokens.width))


def _documents(edit: DocumentMask, frame: Frame, columns: Tensor) -> Tensor:
    """The document of each column, counted from 1, 0 for none."""
    tokens = frame.tokens
    many = by_row(edit.documents)
    rows = list(edit.documents if many else [edit.documents] * tokens.batch)
    if many and len(rows) == 1:
        rows *= tokens.batch
    if len(rows) != tokens.batch:
        raise UsageError(f"documents are given for {len(rows)} rows, and there are {tokens.batch}")
    found = torch.zeros(tokens.batch, tokens.width + 1, dtype=torch.int64)
    for index, (row, length) in enumerate(zip(rows, tokens.lengths.tolist(), strict=True)):
        if len(row) != length and not (not many and len(row) == int(tokens.lengths.max())):  # type: ignore[arg-type]
            raise UsageError(
                f"documents has {len(row)} numbers for row {index}, which has {length} tokens; "  # type: ignore[arg-type]
                "give one a token"
            )
        found[index, :length] = torch.tensor(row[:length]) + 1  # type: ignore[index]
    place = columns - frame.pads[:, None]
    inside = (place >= 0) & (columns < tokens.width)
    here = found.gather(1, torch.where(inside, place, tokens.width))
    return torch.where(columns >= tokens.width, edit.generated + 1, here)


def _classes(ids: Sequence[Tensor], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The class of each place `[batch, place]`, and what each class is in every edit, `[class, edit]`."""
    code = torch.zeros(shape, dtype=torch.int64)
    found = torch.zeros(1, 0, dtype=torch.int64)
    for one in ids:
        count = int(one.max()) + 1
        kinds, code = torch.unique(code * count + one, return_inverse=True)
        found = torch.cat([found[kinds // count], (kinds % count)[:, None]], dim=1)
    return code, found


def sees_nothing(rule: Rule, row: int, query: int) -> UsageError:
    """The error for a query, counted in its pass, that the edits leave nothing to see."""
    place = query + rule.start - int(rule.frame.pads[row])
    return UsageError(
        f"these edits leave the token at position {place} of row {row} nothing to see: leave it at least one key, or "
        "set its weights to zero with knock_out(…, renormalise=False)"
    )
