"""One cell of a grid, and the cells of a batch as hooks: every row of it has the edits of one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..edits import Edit, EditValue, Frame
from ..engines.base import Hook
from ..site_changes import changed
from ..sites import Site
from ..token_positions import columns_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Cell:
    """Where a value stands in the table, and the edits under which it is measured, each of one site."""

    place: tuple[int, ...]
    edits: tuple[EditValue, ...]

    @cached_property
    def at_sites(self) -> tuple[Edit, ...]:
        """Its edits of sites, in their order."""
        return tuple(edit for edit in self.edits if isinstance(edit, Edit))

    @property
    def only_sites(self) -> bool:
        """Whether it edits sites inside of blocks or after them, and nothing else."""
        return all(isinstance(edit, Edit) and edit.site.kind != "embed" for edit in self.edits)

    def entry(self, layers: int) -> int:
        """The first block that it changes, of `layers`; the last where it only changes what comes after them."""
        return min((layers - 1 if edit.site.layer is None else edit.site.layer for edit in self.at_sites), default=0)  # type: ignore[union-attr]

    def first(self, frame: Frame) -> int:
        """The first position that it changes."""
        found = [int(columns_of(frame.tokens.lengths, edit.positions)[0].min()) for edit in self.at_sites]
        return min(found, default=0)

    def changes(self, base: Mapping[Site, Tensor], frame: Frame) -> bool:
        """Whether any edit writes something else than what was read at its site in the run without edits."""
        import torch

        for edit in self.edits:
            if not isinstance(edit, Edit) or edit.op == "apply" or edit.site.whole not in base:  # type: ignore[union-attr]
                return True
            there = base[edit.site.whole]  # type: ignore[union-attr]
            new = changed(edit, there, frame)
            if new is not None and not torch.equal(new, there):
                return True
        return False


def row_hooks(cells: Sequence[Cell], frame: Frame) -> list[Hook]:
    """Hooks of a run whose row n has the edits of cell n; rows that have not entered yet have none to make.

    `frame` has the tokens of one row, which is that of all.
    """
    by_site: dict[Site, list[tuple[int, Edit]]] = {}
    for row, cell in enumerate(cells):
        for edit in cell.at_sites:
            by_site.setdefault(edit.site.whole, []).append((row, edit))  # type: ignore[union-attr]

    def hook(site: Site, edits: Sequence[tuple[int, Edit]]) -> Hook:
        def see(whole: Tensor) -> Tensor | None:
            written = None
            for row, edit in edits:
                new = changed(edit, (whole if written is None else written)[row : row + 1], frame)
                if new is not None:
                    written = whole.clone() if written is None else written
                    written[row] = new[0]
            return written

        return Hook(site, see)

    return [hook(site, edits) for site, edits in by_site.items()]
