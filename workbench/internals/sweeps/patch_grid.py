"""A grid that writes what another run has: kinds × layers × heads or neurons × positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..edits import Edit
from ..engines.base import Engine
from ..sites import Site
from . import grid_axes
from .cells import Cell
from .grid import Grid, Laid, Read
from .grid_axes import Axis, Lengths, PositionAxis, layers_of, numbers

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Patching(Grid):
    """See `patch`."""

    into = "corrupted"
    kinds: tuple[str, ...]
    layers: Any
    positions: Any
    part: str | None
    parts: Any
    each: bool

    @property
    def told(self) -> str:
        return f"{', '.join(self.kinds)} of the other run written"

    def lay(self, engine: Engine, lengths: Lengths) -> Laid:
        architecture = engine.architecture
        layers = layers_of(self.layers, self.kinds, architecture)
        sites = [Site(kind, layer) for kind in self.kinds for layer in layers]
        if self.layers is None or len(self.kinds) > 1:
            there = [site for site in sites if site.layer in architecture.layers_with(site.kind)]
            sites = there or [Site(self.kinds[0], 0)]
        engine.check(sites)
        at = PositionAxis.of(self.positions, lengths, self.each)
        own = {site: self._count(engine, site) for site in sites}
        parts = self._parts(max(own.values()), architecture.name)
        axes = {"kind": Axis(self.kinds, grid_axes.KINDS)} if len(self.kinds) > 1 else {}
        axes["layer"] = Axis(layers)
        if self.part is not None:
            axes[self.part] = Axis(parts, grid_axes.HEADS if self.part == "head" else grid_axes.NEURONS)
        if at.axis is not None:
            axes[at.name] = at.axis

        def cells(prompt: int, read: Read) -> Iterator[Cell]:
            columns = at.columns[prompt]
            groups = [[pair] for pair in columns] if at.axis is not None else [list(columns)]
            for site in sites:
                first = (self.kinds.index(site.kind),) if "kind" in axes else ()
                for index, number in enumerate(parts):
                    if number is not None and number >= own[site]:
                        continue  # this layer has fewer than others
                    one = site if number is None else Site(site.kind, site.layer, **{self.part or "": number})
                    where = (*first, layers.index(site.layer or 0), *(() if number is None else (index,)))
                    for place, group in enumerate(groups):
                        value = read.other[site][:, [column for _, column in group]]
                        value = value if number is None else value[:, :, number]
                        edit = Edit(one, "patch", value, positions=tuple(column for column, _ in group))
                        yield Cell((*where, *((place,) if at.axis is not None else ())), (edit,))

        return Laid(axes, sites, cells)

    def _count(self, engine: Engine, site: Site) -> int:
        if self.part == "neuron":
            from ..weights import neurons

            return neurons(engine.architecture, engine.model, site)
        return engine.architecture.heads(site.kind, site.layer) if self.part == "head" else 0

    def _parts(self, count: int, name: str) -> list[Any]:
        if self.part is None:
            return [None]
        return list(range(count)) if self.parts is None else numbers(f"{self.part}s", self.parts, count, name)
