"""A grid that takes heads away, one by one or in sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..edits import Edit
from ..engines.base import Engine
from ..sites import Site
from .cells import Cell
from .grid import Grid, Laid, Read
from .grid_axes import Axis, Lengths, PositionAxis, layers_of, numbers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ablation(Grid):
    """See `ablate`."""

    layers: Any
    heads: Any
    sets: Mapping[str, tuple[tuple[int, int], ...]] | None
    value: float | str
    positions: Any

    @property
    def uses_other(self) -> bool:  # type: ignore[override]
        return self.value == "other"

    @property
    def uses_mean(self) -> bool:  # type: ignore[override]
        return self.value == "mean"

    @property
    def told(self) -> str:
        return f"output of heads set to {self.value}"

    def lay(self, engine: Engine, lengths: Lengths) -> Laid:
        architecture = engine.architecture
        if self.sets is None:
            layers = layers_of(self.layers, ("z",), architecture)
            most = max((architecture.heads("z", layer) for layer in layers), default=0)
            heads = list(range(most)) if self.heads is None else numbers("heads", self.heads, most, architecture.name)
            axes = {"layer": Axis(layers), "head": Axis(heads)}
            groups = {
                (i, j): ((layer, head),)
                for i, layer in enumerate(layers)
                for j, head in enumerate(heads)
                if head < architecture.heads("z", layer)
            }
        else:
            axes = {"set": Axis(list(self.sets), "heads that are taken away together")}
            groups = {(i,): pairs for i, pairs in enumerate(self.sets.values())}  # type: ignore[misc]
        sites = sorted({Site("z", layer) for pairs in groups.values() for layer, _ in pairs}) or [Site("z", 0)]
        engine.check([*sites, *(Site("z", layer, head) for pairs in groups.values() for layer, head in pairs)])
        at = None if self.positions is None and not self.uses_other else PositionAxis.of(self.positions, lengths, False)

        def cells(prompt: int, read: Read) -> Iterator[Cell]:
            columns = None if at is None else at.columns[prompt]
            positions = None if columns is None else tuple(column for column, _ in columns)
            for place, pairs in groups.items():
                yield Cell(place, tuple(
                    Edit(Site("z", layer, head), "set", self._value(Site("z", layer), head, read, columns),
                         positions=positions, during="prompt") for layer, head in pairs))  # fmt: skip

        return Laid(axes, sites, cells)

    def _value(self, site: Site, head: int, read: Read, columns: Sequence[tuple[int, int]] | None) -> float | Tensor:
        if self.value == "mean":
            return read.mean[site][head]
        if self.value == "other":
            return read.other[site][:, [column for _, column in columns or ()], head]
        assert not isinstance(self.value, str)
        return self.value
