"""A grid of any edits, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from ...errors import UsageError
from ..attention_edits import AttentionEdit
from ..edit_rows import for_rows
from ..edits import Edit, EditValue, divided
from ..engines.base import Engine
from ..token_positions import columns_of
from ..tokens import TokenBatch
from .cells import Cell
from .grid import Grid, Laid, Read
from .grid_axes import Axis, Lengths

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class AnyEdits(Grid):
    """See `edits`."""

    named: Mapping[str, tuple[EditValue, ...]]
    uses_other: bool = field(default=False, init=False)

    @property
    def told(self) -> str:
        return "edits by name"

    def lay(self, engine: Engine, lengths: Lengths) -> Laid:
        found: list[tuple[EditValue, ...]] = []
        for given in self.named.values():
            at_sites, of_attention = divided(given, engine.architecture)
            engine.check(edit.site for edit in at_sites)  # type: ignore[misc]
            found.append((*at_sites, *of_attention))
        self._check_masks(found, lengths)
        sites = sorted({edit.site.whole for one in found for edit in one if isinstance(edit, Edit)})  # type: ignore[union-attr]
        axes = {"cell": Axis(list(self.named), "the edits that are made together, by their name")}
        counts = torch.tensor(list(lengths.base))
        batch = TokenBatch(torch.zeros(len(counts), int(counts.max()), dtype=torch.int64), counts)

        def cells(prompt: int, read: Read) -> Iterator[Cell]:
            for index, one in enumerate(found):
                yield Cell((index,), tuple(_of_prompt(edit, prompt, batch) for edit in one))

        return Laid(axes, sites, cells)

    @staticmethod
    def _check_masks(found: Sequence[Sequence[EditValue]], lengths: Lengths) -> None:
        """Edits of attention see the tokens of an answer as the end of the prompt."""
        for edit in (edit for one in found for edit in one if isinstance(edit, AttentionEdit) and lengths.after):
            given = [getattr(edit, name, None) for name in ("queries", "keys", "tokens")]
            rows = [row for one in given if one is not None for row in one]
            if any(at < 0 for row in rows for at in (row if isinstance(row, tuple) else (row,))):
                raise UsageError(
                    f"positions of {edit} count from the prompt's end, and this metric puts tokens after it: give "
                    "positions from the start, or a metric of one token"
                )


def _of_prompt(edit: EditValue, prompt: int, batch: TokenBatch) -> EditValue:
    """An edit for one prompt, its positions counted from the start: the metric may put tokens after the prompt."""
    length = int(batch.lengths[prompt])
    one = for_rows(edit, [prompt], batch, length)
    if not isinstance(one, Edit) or one.positions is None:
        return one
    columns, _ = columns_of(torch.tensor([length]), one.positions)
    return replace(one, positions=tuple(columns[0].tolist()))
