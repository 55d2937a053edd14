"""Path patching: what goes from a sender to a receiver on some paths only, and what the receiver makes of it.

Wang et al. 2023 (arXiv 2211.00593); Goldowsky-Dill et al. 2023 (arXiv 2304.05969). Two runs a cell: in the first the
sender has the other run's output, everything between is held as it was but what the path may pass through, and what
comes to the receiver is read; in the second only the receiver has that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ..architectures import Architecture
from ..edits import Edit
from ..engines.base import Engine
from ..sites import Site
from . import grid_axes
from .cells import Cell
from .grid import Grid, Laid, Read
from .grid_axes import Axis, Lengths, PositionAxis

if TYPE_CHECKING:
    from torch import Tensor

    from .cell_runs import CellRuns

SENDERS = ("z", "attn_out", "mlp_out", "resid_pre", "resid_post")
RECEIVERS = ("q", "k", "v", "z", "attn_out", "mlp_pre", "mlp_post", "mlp_out", "resid_pre", "resid_mid", "resid_post")
THROUGH = ("attention", "mlp")
_PLACES = {"resid_pre": 0, "q": 1, "k": 1, "v": 1, "z": 2, "attn_out": 3, "resid_mid": 4, "mlp_pre": 5, "mlp_post": 6,
           "mlp_out": 7, "resid_post": 8}  # fmt: skip
"""The order in which sites of one block are reached."""
CHUNK = 128
"""Cells whose receivers' values are held at once."""


@dataclass(frozen=True, eq=False)
class PathCell(Cell):
    """A cell whose edits are those of the first run; what is then at `receiver` is written in the second."""

    receiver: Site
    start: int
    width: int

    def read_into(self, kept: dict[int, Tensor], number: int) -> Cell:
        """The first run's cell, which reads the receiver."""

        def keep(now: Tensor) -> None:
            kept[number] = now.detach().clone()

        reading = Edit(self.receiver, "apply", keep, positions=range(self.start, self.width))
        return Cell(self.place, (*self.edits, reading))

    def with_received(self, value: Tensor) -> Cell:
        """The second run's cell."""
        return Cell(self.place, (Edit(self.receiver, "patch", value, positions=range(self.start, self.width)),))


def received(runs: CellRuns, cells: Sequence[PathCell]) -> Iterator[list[Cell]]:
    """The cells of the second runs, some at a time, once their first runs are made."""
    for first in range(0, len(cells), CHUNK):
        part = cells[first : first + CHUNK]
        kept: dict[int, Tensor] = {}
        runs.until_read([cell.read_into(kept, number) for number, cell in enumerate(part)])
        yield [cell.with_received(kept[number]) for number, cell in enumerate(part)]


@dataclass(frozen=True)
class Paths(Grid):
    """See `grids.paths`."""

    senders: str | tuple[Site, ...]
    receivers: tuple[Site, ...]
    through: tuple[str, ...]
    positions: Any

    @property
    def told(self) -> str:
        between = " and ".join(self.through) or "nothing but the residual stream"
        return f"output of senders of the other run written, as it comes to the receivers through {between}"

    def lay(self, engine: Engine, lengths: Lengths) -> Laid:
        architecture = engine.architecture
        axes, senders = self._senders(architecture)
        receivers = [Site("final_norm") if site.kind == "logits" else site for site in self.receivers]
        if len(receivers) > 1:
            axes["receiver"] = Axis([str(site) for site in self.receivers], "where a path ends")
        frozen = [Site(kind, layer) for layer in range(architecture.shape.layers) for kind in self._held]
        engine.check([*senders.values(), *receivers, *frozen])
        if not any(_before(sender, receiver) for sender in senders.values() for receiver in receivers):
            raise UsageError("no sender is before a receiver: a path goes to later blocks, or later parts of a block")
        at = PositionAxis.of(self.positions, lengths, each=False)
        sites = sorted({site.whole for site in (*senders.values(), *receivers, *frozen)}, key=str)

        def cells(prompt: int, read: Read) -> Iterator[Cell]:
            columns = at.columns[prompt]
            start, width = min(column for column, _ in columns), next(iter(read.base.values())).shape[1]
            for place, sender in senders.items():
                value = read.other[sender.whole][:, [column for _, column in columns]]
                value = value if sender.head is None else value[:, :, sender.head]
                sent = Edit(sender, "patch", value, positions=tuple(column for column, _ in columns))
                for number, receiver in enumerate(receivers):
                    if not _before(sender, receiver):
                        continue
                    held = [_held(site, read, start) for site in frozen if _between(sender, site, receiver)]
                    where = (*place, *((number,) if len(receivers) > 1 else ()))
                    yield PathCell(where, (sent, *held), receiver, start, width)

        return Laid(axes, sites, cells)

    @property
    def _held(self) -> list[str]:
        """What is held as it was, between a sender and a receiver."""
        return [kind for kind, word in (("attn_out", "attention"), ("mlp_out", "mlp")) if word not in self.through]

    def _senders(self, architecture: Architecture) -> tuple[dict[str, Axis], dict[tuple[int, ...], Site]]:
        if not isinstance(self.senders, str):
            axis = Axis([str(site) for site in self.senders], "where a path begins")
            return {"sender": axis}, {(place,): site for place, site in enumerate(self.senders)}
        kind = "z" if self.senders == "heads" else "mlp_out"
        last = max(architecture.shape.layers - 1 if site.layer is None else site.layer for site in self.receivers)
        layers = [layer for layer in architecture.layers_with(kind) if layer <= last]
        if kind == "mlp_out":
            return {"layer": Axis(layers)}, {(place,): Site(kind, layer) for place, layer in enumerate(layers)}
        most = max((architecture.heads("z", layer) for layer in layers), default=0)
        found: dict[tuple[int, ...], Site] = {
            (place, head): Site("z", layer, head)
            for place, layer in enumerate(layers)
            for head in range(architecture.heads("z", layer))
        }
        return {"layer": Axis(layers), "head": Axis(list(range(most)), grid_axes.HEADS)}, found


def paths(
    senders: Any = "heads", receivers: Any = "logits", *, through: str | Sequence[str] = ("mlp",), positions: Any = None
) -> Paths:
    """See `grids.paths`."""
    if not (isinstance(senders, str) and senders in ("heads", "mlps")):
        senders = _sites(senders, "sender", SENDERS)
    words = (through,) if isinstance(through, str) else tuple(through)
    if wrong := [word for word in words if word not in THROUGH]:
        raise UsageError(f"a path goes through {' and '.join(THROUGH)} or neither, not {wrong[0]!r}")
    return Paths(senders, _sites(receivers, "receiver", (*RECEIVERS, "final_norm", "logits")), words, positions)


def _sites(given: Any, word: str, kinds: Sequence[str]) -> tuple[Site, ...]:
    listed = [given] if isinstance(given, (str, Site)) else list(given)
    sites = tuple(Site.parse(one) for one in listed)
    if not sites or len(set(sites)) < len(sites):
        raise UsageError(f"paths need at least one {word}, each given once")
    for site in sites:
        if site.kind not in kinds:
            raise UsageError(f"a {word} is one of {', '.join(kinds)}, not '{site}'")
    return sites


def _order(site: Site) -> tuple[float, int]:
    return (float("inf"), 0) if site.layer is None else (site.layer, _PLACES[site.kind])


def _before(one: Site, other: Site) -> bool:
    return _order(one) < _order(other)


def _between(sender: Site, site: Site, receiver: Site) -> bool:
    """Whether a site is passed after the sender, and goes into the receiver; a head's own output is not between."""
    own = sender.kind == "z" and site == Site("attn_out", sender.layer)
    return _before(sender, site) and _before(site, receiver) and not own


def _held(site: Site, read: Read, start: int) -> Edit:
    value = read.base[site][:, start:]
    return Edit(site, "patch", value, positions=range(start, start + value.shape[1]))
